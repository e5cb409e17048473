"""A hub of one model on a free port of this machine, as the Hugging Face client asks one: a HEAD for what it is, then a GET."""

from server import Handler, Server, whole

NAME = "test_resnet.r160_in1k"
COMMIT = "0" * 40


class Answers(Handler):
    def do_HEAD(self) -> None:
        hub = self.server
        assert isinstance(hub, Hub)
        there = self.path == f"/timm/{NAME}/resolve/main/model.safetensors"
        known = {"ETag": '"v1"', "X-Repo-Commit": COMMIT, "Content-Length": len(hub.content)}
        self.head(200 if there else 404, known if there else {"Content-Length": 0, "X-Error-Code": "EntryNotFound"})


class Hub(Server):
    """`with Hub(content) as hub: ...`, with `hub.endpoint` as HF_ENDPOINT."""

    def __init__(self, content: bytes) -> None:
        super().__init__(whole(content))
        self.content, self.RequestHandlerClass = content, Answers

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"
