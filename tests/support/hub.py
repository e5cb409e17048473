"""Serve one model on a free local port like the Hugging Face hub: a HEAD request for its metadata, then a GET."""

from server import Handler, Server, whole

NAME = "test_resnet.r160_in1k"
COMMIT = "0" * 40


class HubHandler(Handler):
    def do_HEAD(self) -> None:
        hub = self.server
        assert isinstance(hub, Hub)
        exists = self.path == f"/timm/{NAME}/resolve/main/model.safetensors"
        found = {"ETag": '"v1"', "X-Repo-Commit": COMMIT, "Content-Length": len(hub.content)}
        self.head(200 if exists else 404, found if exists else {"Content-Length": 0, "X-Error-Code": "EntryNotFound"})


class Hub(Server):
    """`with Hub(content) as hub: ...`, with `hub.endpoint` as HF_ENDPOINT."""

    def __init__(self, content: bytes) -> None:
        super().__init__(whole(content))
        self.content, self.RequestHandlerClass = content, HubHandler

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"
