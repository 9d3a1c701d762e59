"""Where domain values meet bytes: generated protobuf code, and the only crossing to it.

    limits.py        every limit on what crosses, with units
    errors.py        the catalogue from an error to a gRPC status, and back; imports no gRPC
    fields.py        what messages share: enums, digests, texts, matrices
    task_codec.py    the task
    codec.py         all that is said in a session
    record_codec.py  the verifier's record of it
    chunks.py        claims and answers as streams that resume
    files.py         claim files and transcript files
    generated/       what protoc makes of proto/attribution.proto (``make proto``)

Everything received is hostile: whatever the bytes, a decoder gives a valid domain value or
raises ``MalformedMessage``.
"""
