"""The page in a real browser: searching, explaining, and answers that can be followed to their source."""

from __future__ import annotations

import httpx
import pytest
from selenium.webdriver.common.keys import Keys

from retrieval.errors import GenerationFailed, Unavailable
from tests.browser.page import Page
from tests.browser.stack import SENTENCE, GatedModel, Stack
from tests.live import LiveServer

pytestmark = pytest.mark.slow

QUESTION = "What does the F() object refer to in a database?"


def let_speak(server: LiveServer, model: GatedModel, pieces: int) -> None:
    for _ in range(pieces):
        server.call(model.gate.release)


def answered(page: Page) -> None:
    page.until(lambda: page.all("#answer[data-state=done]"))


def ask(page: Page, server: LiveServer, model: GatedModel) -> None:
    """Ask, and let the whole answer come."""
    let_speak(server, model, len(model.pieces))
    page.search(QUESTION, answer=True)
    answered(page)


def prose(page: Page) -> str:
    """The words of the answer, without the numbers of its citations and what says that it is being written."""
    script = (
        "const copy = document.querySelector('.prose').cloneNode(true);"
        "for (const node of copy.querySelectorAll('.chip, .thinking')) node.remove();"
        "return copy.textContent.trim();"
    )
    return str(page.js(script))


def test_a_typed_query_gives_passages_with_its_words_marked(page: Page) -> None:
    page.search("select related objects queries")
    assert "Making queries" in page.text(".result h3")
    marked = {text.lower() for text in page.texts(".result mark")}
    assert {"select_related", "query"} <= marked
    assert "the" not in marked
    assert "Related objects" in page.texts(".crumbs > span")
    assert page.text(".score b")


def test_a_chinese_query_is_marked_by_words_and_not_by_signs(page: Page) -> None:
    page.search("数据库迁移失败会怎样？")
    marked = set(page.texts(".result:first-of-type mark"))
    assert marked & {"数据库", "数据库迁移"}
    assert "失败" in marked
    assert not marked & {"会", "的"}


def test_a_passage_of_a_pdf_names_its_page(page: Page) -> None:
    page.search("turbines oil spring")
    assert page.text(".result .page") == "p. 1"


def test_the_explain_panel_shows_the_ranks_scores_and_times_that_the_api_gives(page: Page) -> None:
    query = "related objects query"
    page.search(query)
    page.find("#explain").click()
    page.until(lambda: page.all(".how table"))
    body = {"query": query, "collection": "docs", "k": 10, "explain": True}
    given = httpx.post(f"{page.url}/v1/search", json=body, timeout=60, trust_env=False).json()
    first = given["results"][0]["explain"]
    for stage, told in first.items():
        cells = page.texts(f".result:first-of-type tr[data-stage={stage}] td.digits")
        assert int(cells[0]) == told["rank"]
        assert float(cells[1]) == pytest.approx(told["score"], rel=0.01)
    shown = page.js("return [...document.querySelectorAll('.how tr[data-time]')].map((row) => row.dataset.time)")
    assert {"embed", "lexical", "dense", "fuse", "rerank", "total"} <= set(shown)
    assert all("ms" in text or "s" in text for text in page.texts(".how td.digits"))


def test_one_passage_explains_itself_alone(page: Page) -> None:
    page.search("query database")
    page.find(".result:nth-of-type(2) .why").click()
    assert len(page.all(".explain:not([hidden]) table")) == 1
    assert page.find(".result:nth-of-type(2) .why").get_attribute("aria-expanded") == "true"


def test_the_answer_grows_as_it_is_written(page: Page, server: LiveServer, model: GatedModel) -> None:
    page.search(QUESTION, answer=True)
    page.until(lambda: page.all("#answer[data-state=waiting]"))
    lengths = [0]
    for turn in range(1, 4):
        let_speak(server, model, 1)
        expected = "".join(model.pieces[:turn]).strip()
        page.until(lambda wanted=expected: prose(page) == wanted)  # type: ignore[misc]
        assert page.find("#answer").get_attribute("data-state") == "writing"
        lengths.append(len(prose(page)))
    assert lengths == sorted(set(lengths))
    let_speak(server, model, len(model.pieces))
    answered(page)
    assert page.js("return document.querySelector('.prose').getAttribute('aria-busy')") == "false"


def test_a_hovered_citation_lights_the_very_sentence_it_rests_on(
    page: Page, server: LiveServer, model: GatedModel
) -> None:
    ask(page, server, model)
    assert page.all(".sentence.lit") == []
    page.hover(".prose .chip")
    assert "".join(page.texts(".result .sentence.lit")) == SENTENCE
    assert "".join(page.texts(".claim.lit")).strip() == SENTENCE
    page.hover("#query")
    page.until(lambda: not page.all(".sentence.lit"))


def test_a_citation_in_focus_lights_its_sentence_too(page: Page, server: LiveServer, model: GatedModel) -> None:
    ask(page, server, model)
    page.js("document.querySelector('.prose .chip').focus()")
    assert "".join(page.texts(".result .sentence.lit")) == SENTENCE
    page.js("document.getElementById('query').focus()")
    page.until(lambda: not page.all(".sentence.lit"))


def test_a_clicked_citation_goes_to_its_passage_and_escape_lets_go(
    page: Page, server: LiveServer, model: GatedModel
) -> None:
    page.resize(500, 500)
    ask(page, server, model)
    page.js("window.scrollTo(0, 0)")
    page.find(".prose .chip").click()
    page.until(lambda: "result" in page.focused())
    top, bottom, height = page.js(
        "const {top, bottom} = document.querySelector('.sentence.lit').getBoundingClientRect();"
        "return [top, bottom, innerHeight]"
    )
    assert top >= 0
    assert bottom <= height
    page.press(Keys.ESCAPE)
    page.until(lambda: not page.all(".sentence.lit"))


def test_a_citation_says_how_it_was_found_and_never_that_it_supports(
    page: Page, server: LiveServer, model: GatedModel
) -> None:
    ask(page, server, model)
    shown = set(page.texts(".verdict"))
    assert shown
    assert shown <= {"closest passage", "quoted"}
    assert "support" not in page.text("#answer").lower()
    assert page.find(".prose .chip").get_attribute("aria-label")
    assert "gated-model" in page.text(".engine")


def test_while_its_passage_is_out_of_sight_a_citation_shows_the_sentence_beside_it(
    page: Page, server: LiveServer, model: GatedModel
) -> None:
    page.resize(400, 420)
    ask(page, server, model)
    page.js("window.scrollTo(0, 0); document.querySelector('.prose .chip').focus({preventScroll: true})")
    assert page.text(".peek blockquote") == SENTENCE


def test_stop_ends_the_generation_and_keeps_what_has_come(page: Page, server: LiveServer, model: GatedModel) -> None:
    page.search(QUESTION, answer=True)
    let_speak(server, model, 1)
    page.until(lambda: page.all("#answer[data-state=writing]"))
    page.until(lambda: SENTENCE[:20].strip() in page.text(".prose"))
    page.find("#stop").click()
    page.until(lambda: page.all("#answer[data-state=stopped]"))
    page.until(lambda: model.left == 1)
    assert page.text(".prose").startswith(SENTENCE[:20].strip())


def test_escape_stops_and_so_does_the_next_question(page: Page, server: LiveServer, model: GatedModel) -> None:
    page.search(QUESTION, answer=True)
    let_speak(server, model, 1)
    page.until(lambda: page.all("#answer[data-state=writing]"))
    page.press(Keys.ESCAPE)
    page.until(lambda: model.left == 1)
    page.type("select_related database")
    page.until(lambda: page.all("#answer[data-state=waiting], #answer[data-state=writing]"))
    page.type("turbines oil")
    page.until(lambda: model.left == 2)
    page.until(lambda: page.all("#answer[data-state=waiting]"))
    assert page.all("#answer[data-state=stopped]") == []


def test_a_model_that_finds_no_answer_is_told_as_such(page: Page, server: LiveServer, model: GatedModel) -> None:
    model.pieces = ("The passages do not say.",)
    ask(page, server, model)
    assert "do not say" in page.text(".prose.abstained")
    assert page.all(".prose .chip") == []


def test_a_failure_in_the_middle_of_an_answer_is_readable_and_keeps_the_text(
    page: Page, stack: Stack, server: LiveServer, model: GatedModel
) -> None:
    stack.model.fails_after = 2
    stack.model.failure = GenerationFailed("the server closed the stream", stage="generation")
    let_speak(server, model, 6)
    page.search(QUESTION, answer=True)
    page.until(lambda: page.all("#answer[data-state=failed]"))
    assert "closed the stream" in page.text("#answer .notice.bad")
    assert page.text(".prose").startswith(SENTENCE[:20].strip())


def test_without_a_reranker_the_page_says_what_was_left_out(page: Page, stack: Stack) -> None:
    stack.reranker.fail_with = Unavailable("the reranker is away", stage="rerank")
    try:
        page.search("related objects")
        assert "close reading was left out" in page.text(".notice")
        assert page.text(".score small") == "combined"
    finally:
        stack.reranker.fail_with = None


def test_a_refused_request_is_shown_in_the_servers_words(page: Page) -> None:
    page.search("x" * 250)
    assert "250" in page.text("#problem")
    assert "200" in page.text("#problem")
    assert len(page.complaints()) == 1  # the browser itself notes the status 422


def test_nothing_found_is_said(page: Page) -> None:
    page.search("anything at all", answer=True, collection="empty")
    assert "Nothing found" in page.text(".nothing")
    assert page.all("#answer:not([hidden])") == []


def test_what_a_document_holds_is_text_and_never_markup(page: Page) -> None:
    page.search("walrus brought on purpose")
    assert "<script>window.hacked=1</script>" in page.text(".result .passage")
    assert page.js("return window.hacked") is None
    assert page.js("return document.querySelectorAll('.result img, .result script').length") == 0


def test_a_long_passage_is_clipped_until_asked_for(page: Page) -> None:
    page.resize(600, 900)
    page.search("patience fills the page sentence")
    clipped = ".passage.clipped"
    page.until(lambda: page.all(clipped))
    assert "Show all" in page.texts(".result .link:not([hidden])")
    page.js("[...document.querySelectorAll('.link')].find((node) => node.innerText === 'Show all').click()")
    assert page.all(".passage.open")


def test_the_address_holds_the_question_and_back_returns_to_it(page: Page) -> None:
    page.search("related objects")
    page.type("turbines oil")
    page.until(lambda: "manual" in page.text(".results"))
    page.driver.back()
    page.until(lambda: "Making queries" in page.text(".result h3"))
    assert page.find("#query").get_attribute("value") == "related objects"
