"""A server of S3's protocol with one bucket, in a thread of the test."""

from collections.abc import Iterator
from contextlib import contextmanager

BUCKET = "backups-of-the-tests"
KEY, SECRET = "reader", "secret-of-the-reader"


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Answers while the block runs; yields the variables with which a process reads and writes the bucket."""
    import boto3  # imported here: most tests do without
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=KEY, aws_secret_access_key=SECRET
        )
        client.create_bucket(Bucket=BUCKET)
        yield {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    finally:
        server.stop()
