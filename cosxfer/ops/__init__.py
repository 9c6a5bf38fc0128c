"""The operations of COS, one file each: parameters in, one request, a record out."""
