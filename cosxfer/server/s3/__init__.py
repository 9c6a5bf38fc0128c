"""The S3 face of COS: requests that are signed with AWS Signature Version 4 and have ``x-amz-…`` headers.

A request of S3 becomes one of COS (`face.Face`), so every operation exists once. Its response is translated back.
"""
