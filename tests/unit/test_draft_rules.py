"""Questions by rules: which sentences ask for one, in English and Chinese, and which headings do."""

from __future__ import annotations

import pytest

from eval.draft_rules import HeadingWriter, RuleWriter, drafts_of
from eval.drafts import Drafted, problems
from retrieval.analysis import language_of
from retrieval.types import Passage


def passage(text: str, title: str = "Guide", headings: tuple[str, ...] = ()) -> Passage:
    return Passage("d#0", "d", text, (0, len(text)), title, headings)


def drafts(text: str, headings: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    return [(each.question, each.answer) for each in drafts_of(passage(text, headings=headings), language_of(text))]


@pytest.mark.parametrize(
    ("sentence", "question", "answer"),
    [
        (
            "Middleware is a framework of hooks into request processing.",
            "What is Middleware?",
            "a framework of hooks into request processing",
        ),
        ("The ORM is the layer that talks to databases.", "What is the ORM?", "the layer that talks to databases"),
        ("Signals are used to tell receivers of events.", "What are Signals?", "used to tell receivers of events"),
        (
            "WSGI stands for the web server gateway interface.",
            "What does WSGI stand for?",
            "the web server gateway interface",
        ),
        (
            "To serve your static files, you can run the collectstatic command.",
            "How do I serve my static files?",
            "run the collectstatic command",
        ),
        (
            "The default value of MAX_CONNS is ten for each worker.",
            "What is the default value of MAX_CONNS?",
            "ten for each worker",
        ),
        (
            "If the column has no index, the option is ignored by the planner.",
            "What happens if the column has no index?",
            "the option is ignored by the planner",
        ),
        (
            "When you stop the server, open requests are finished first.",
            "What happens when I stop the server?",
            "open requests are finished first",
        ),
        (
            "The reverse() function returns the address of a view.",
            "What does the reverse() function return?",
            "the address of a view",
        ),
        ("所谓污点，是指节点拒绝某类容器组的标记。", "什么是污点？", "节点拒绝某类容器组的标记"),
        ("本法所称种子，是指农作物和林木的种植材料。", "什么是种子？", "农作物和林木的种植材料"),
        ("启动引导令牌是一种简单的持有者令牌。", "什么是启动引导令牌？", "一种简单的持有者令牌"),
        ("要查看你的集群版本，请运行 kubectl version 命令。", "如何查看我的集群版本？", "运行 kubectl version 命令"),
        ("如果两个文件都已存在，则跳过生成步骤。", "如果两个文件都已存在，会怎么样？", "跳过生成步骤"),
        ("经营者销售假冒商品的，由主管部门责令改正。", "经营者销售假冒商品会怎么样？", "由主管部门责令改正"),
        ("用人单位不得扣押劳动者的居民身份证。", "用人单位不得做什么？", "扣押劳动者的居民身份证"),
        ("控制平面由调度器和接口服务器组成。", "控制平面由什么组成？", "调度器和接口服务器"),
    ],
)
def test_a_sentence_of_a_known_form_asks(sentence: str, question: str, answer: str) -> None:
    assert drafts(sentence) == [(question, answer)]


@pytest.mark.parametrize(
    "sentence",
    [
        "It is a framework of hooks into request processing.",
        "This setting is the place where everything begins.",
        "There are a number of ways to do so in practice.",
        "If this happens, the option is ignored by the planner.",
        "The quick brown fox that lives in the woods is a nice animal to see.",
        "The server listens on a port of its own all day long.",
        "它是一种简单的持有者令牌，可以随时创建。",
        "如果它没有被设置，会搜索一个标准路径。",
        "服务器在自己的端口上监听所有请求。",
    ],
)
def test_a_sentence_that_does_not_say_what_it_is_about_asks_nothing(sentence: str) -> None:
    assert drafts(sentence) == []


@pytest.mark.parametrize(
    ("heading", "question"),
    [
        ("2.1 How to Install the server", "How do I install the server?"),
        ("How to deploy?", "How do I deploy?"),
        ("Which tickets should be claimed?", "Which tickets should be claimed?"),
        ("如何更新对象", "如何更新对象？"),
        ("第三章 为什么要备份？", "为什么要备份？"),
    ],
)
def test_a_heading_that_asks_is_the_question(heading: str, question: str) -> None:
    text = "The server listens on a port of its own all day long."
    assert drafts(text, ("Guide", heading)) == [(question, text)]


def test_the_evidence_stands_in_the_passage_as_it_is() -> None:
    text = "An overview.\n\nMiddleware is a framework\nof hooks into request processing. More follows here."
    [found] = drafts_of(passage(text), "en")
    assert found.evidence == "Middleware is a framework\nof hooks into request processing."
    assert found.answer == "a framework of hooks into request processing"
    assert problems(found, passage(text)) == ()


async def test_a_writer_skips_drafts_with_problems() -> None:
    text = "Signals are used to signal signals. Middleware is a framework of hooks into request processing."
    assert drafts(text)[0][0] == "What is Middleware?"
    found = await RuleWriter().write(passage(text), "en")
    assert found == Drafted(
        "What is Middleware?",
        "a framework of hooks into request processing",
        "Middleware is a framework of hooks into request processing.",
    )
    assert await RuleWriter().write(passage("Nothing of the kind stands in here, I fear."), "en") is None


async def test_a_heading_is_a_query_where_nothing_better_comes() -> None:
    text = "x = 1\n\nThe server listens on a port of its own all day long."
    found = await HeadingWriter().write(passage(text, "Ports — Handbook 3", ("Ports", "Listening")), "en")
    assert found is not None
    assert (found.question, found.answer) == (
        "Ports Listening",
        "The server listens on a port of its own all day long.",
    )
    for title, headings in (("Ports", ()), ("Listening on ports", ("Listening",)), ("Ports", ("...",))):
        assert await HeadingWriter().write(passage(text, title, headings), "en") is None
    assert (
        await HeadingWriter().write(passage("x = 1\n\ny = 2 and so on until the end of it", "A", ("Code",)), "en")
        is None
    )
