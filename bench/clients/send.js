// Uploads with cos-nodejs-sdk-v5: `node send.js ORDER`, see send.py. COS_SDK names the installed package.
'use strict'
const fs = require('fs')
const path = require('path')
const COS = require(process.env.COS_SDK)
const order = JSON.parse(process.argv[2])
const [protocol, domain] = order.url.split('://')
const { files, ...settings } = order.settings
const cos = new COS({
  SecretId: 'id', SecretKey: 'key', Protocol: protocol + ':', Domain: domain, ForcePathStyle: false,
  ...(files ? { FileParallelLimit: files } : {}), ...settings
})
const place = { Bucket: order.bucket, Region: 'ap-guangzhou' }

function below (folder) {
  return fs.readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile()).map(entry => path.join(entry.parentPath || entry.path, entry.name))
}

async function main () {
  if (order.path === null) return
  if (fs.statSync(order.path).isFile()) {
    await cos.uploadFile({ ...place, Key: 'key', FilePath: order.path, SliceSize: 1024 * 1024 })
    return
  }
  const list = below(order.path)
  const result = await cos.uploadFiles({
    files: list.map(file => ({ ...place, Key: path.relative(order.path, file), FilePath: file })), SliceSize: 1024 * 1024
  })
  for (const file of result.files) if (file.error) throw file.error
}

main().then(() => process.exit(0), error => { console.error(error); process.exit(1) })
