"""Questions without a model: from sentences that define, explain or instruct, and from headings; English, Chinese."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from eval.drafts import Drafted, problems
from retrieval.analysis import sentences
from retrieval.types import Language, Passage

_MOST_WORDS = 6
"""Of what an English sentence defines; more is rarely a name."""

_NO_NAMES = (
    "it this that these those there here what which who he she we you they i one another each both all some such its "
    "if when while for in on at by as and but or so then first second also however note example examples see use "
    "everything nothing something anything result reason way problem default most following above below next case"
)
_NO_CHINESE_NAME = re.compile(
    "^(?:这|那|此|该|它|他|她|其|我|你|您|本|以上|以下|下面|上面|如果|若|因为|由于|但|而|也|就|都|只|不|可能|主要|目的|原因|特别|尤其|"
    "所有|每|有些|另|当|在|对|从|一般|通常|例如|比如|注意|结果|前|后|第|同时|并|或|与|和|虽|可以|需要|默认)"
)
_DO = (
    "use|run|call|set|add|create|define|pass|specify|write|edit|install|click|type|open|enable|override|import|"
    "press|choose|select|include|put|start|make|change|configure|declare|implement|provide|return|append|invoke"
)
_NAME = r"(?P<x>(?:(?:an?|the) )?[A-Za-z`\"'][\w`\"'.+#()/-]*(?: [\w`\"'.+#()/-]+){0,6}?)"


@dataclass(frozen=True, slots=True)
class _Rule:
    """A form of sentence, and the question that it answers; ``{x}`` is the group ``x``, the answer is group ``y``."""

    form: re.Pattern[str]
    question: str
    fits: Callable[[str], bool]


def _english_name(text: str) -> bool:
    words = text.split()
    bare = [word.lower().strip("`\"'") for word in words]
    if bare and bare[0] in ("a", "an", "the"):
        bare = bare[1:]
    return 0 < len(bare) <= _MOST_WORDS and bare[0] not in _NO_NAMES.split()


def _chinese_name(text: str) -> bool:
    return not _NO_CHINESE_NAME.match(text)


def _clear(text: str) -> bool:
    """Whether a condition says by itself what it is about."""
    return not _POINTS_ELSEWHERE.search(text)


def _english(form: str, question: str, fits: Callable[[str], bool] = _english_name) -> _Rule:
    return _Rule(re.compile(form, re.IGNORECASE), question, fits)


def _chinese(form: str, question: str, fits: Callable[[str], bool] = _chinese_name) -> _Rule:
    return _Rule(re.compile(form), question, fits)


_X = r"(?P<x>[^，。；：、（）()\s「」]{2,20}?)"
_RULES: Mapping[Language, tuple[_Rule, ...]] = {
    "en": (
        _english(rf"^{_NAME} is (?P<y>(?:an?|the|one of|used (?:to|for|by)|where|how) .+)[.]$", "What is {x}?"),
        _english(
            rf"^{_NAME} are (?P<y>(?:an?|the|used (?:to|for|by)|sets? of|special|small|named) .+)[.]$", "What are {x}?"
        ),
        _english(rf"^{_NAME} stands for (?P<y>.+)[.]$", "What does {x} stand for?"),
        _english(rf"^{_NAME} (?:means|denotes) (?P<y>.+)[.]$", "What does {x} mean?"),
        _english(rf"^{_NAME} refers to (?P<y>.+)[.]$", "What does {x} refer to?"),
        _english(
            r"^To (?P<x>[a-z]\w+ [^,:;.]{3,80}), "
            r"(?:you (?:can|must|should|need to|have to|may) |simply |just |first )*"
            rf"(?P<y>(?:{_DO})\b.+)[.:]$",
            "How do I {x}?",
            _clear,
        ),
        _english(
            r"^If (?P<x>(?:the|an?|you|your) [^,:;]{5,90}), (?:then )?(?P<y>[^,]{3}.+)[.]$",
            "What happens if {x}?",
            _clear,
        ),
        _english(
            r"^When (?P<x>(?:the|an?|you|your) [^,:;]{5,90}), (?P<y>[^,]{3}.+)[.]$", "What happens when {x}?", _clear
        ),
        _english(rf"^{_NAME} returns (?P<y>.+)[.]$", "What does {x} return?"),
        _english(
            r"^The default (?P<x>(?:value )?(?:for|of) [\w`.-]+(?: [\w`.-]+){0,4}) is (?P<y>.+)[.]$",
            "What is the default {x}?",
        ),
    ),
    "zh": (
        _chinese(
            rf"^(?:所谓|本[^，。]{{1,8}}所称的?)?{_X}，?(?:是指|指的是|，指)(?P<y>.{{4,150}}?)[。；]$", "什么是{x}？"
        ),
        _chinese(rf"^{_X}(?:是)(?P<y>(?:一种|一个|一款|一类|一套|一组|用于|用来|由).{{3,150}}?)[。；]$", "什么是{x}？"),
        _chinese(
            r"^(?:要|若要|如要|如需|想要|为了)(?P<x>[^，。]{3,30})，(?:你|您)?(?:请|可以|可|需要|需|应当|应该|应|必须)?"
            r"(?P<y>(?:使用|运行|执行|调用|设置|添加|创建|定义|点击|输入|安装|打开|启用|通过|在|用).{3,150})[。；：]$",
            "如何{x}？",
            _clear,
        ),
        _chinese(
            r"^(?:如果|若)(?P<x>[^，。；：]{4,40})，(?:则|那么|就)?(?P<y>[^：]{4,150}?)[。；]$",
            "如果{x}，会怎么样？",
            _clear,
        ),
        _chinese(r"^(?P<x>[^，。；：]{4,40})的，(?P<y>[^：]{4,150}?)[。；]$", "{x}会怎么样？", _clear),
        _chinese(rf"^{_X}应当(?P<y>[^：]{{4,150}}?)[。；]$", "{x}应当怎么做？"),
        _chinese(rf"^{_X}不得(?P<y>[^：]{{3,150}}?)[。；]$", "{x}不得做什么？"),
        _chinese(rf"^{_X}由(?P<y>.{{3,100}}?)组成[。；]$", "{x}由什么组成？"),
        _chinese(rf"^{_X}(?:包括|分为)(?P<y>[^：]{{4,150}}?)[。；]$", "{x}包括哪些？"),
        _chinese(rf"^{_X}(?:会)?返回(?P<y>.{{2,100}}?)[。；]$", "{x}返回什么？"),
        _chinese(r"^(?P<x>[^，。；：]{2,20}?)的?默认值(?:是|为)(?P<y>.{1,80}?)[。；]$", "{x}的默认值是什么？"),
    ),
}
_SHORTEST: Mapping[Language, int] = {"en": 30, "zh": 10}
_LONGEST: Mapping[Language, int] = {"en": 320, "zh": 160}
_HOW_TO = re.compile(r"^(?:how to|howto:?) (.+)$", re.IGNORECASE)
_SITE = re.compile(r"\s+[—–|·].*$")
"""What many sites put behind the title of each page."""
_POINTS_ELSEWHERE = re.compile(
    r"\b(?:this|that way|these|those|it|they|them|so|above|below)\b|它|这|该|上述|前款|前项|假定|假设|的话",
    re.IGNORECASE,
)
_NUMBERING = re.compile(
    r"^(?:[0-9]+(?:\.[0-9]+)*[.、)]?|[一二三四五六七八九十]+、|第[一二三四五六七八九十百0-9]+[章节])\s*"
)


class RuleWriter:
    """Drafts by fixed forms of sentences, and by headings that are questions."""

    name = "rules"

    async def write(self, passage: Passage, language: Language) -> Drafted | None:
        """The first draft that has no problem; None when the passage has none."""
        return next((each for each in drafts_of(passage, language) if not problems(each, passage)), None)


class HeadingWriter:
    """Title and heading as a user would type them into a search field: for passages that nothing better comes of."""

    name = "headings"

    async def write(self, passage: Passage, language: Language) -> Drafted | None:
        """None for a passage without a heading of its own, or without a whole sentence below it."""
        heading = _NUMBERING.sub("", passage.headings[-1].strip(" ¶#")) if passage.headings else ""
        title = _SITE.sub("", passage.title)
        if not re.search(r"[^\W\d]{2}", heading) or heading.casefold() in title.casefold():
            return None
        whole = [pair for pair in _fitting(passage, language) if pair[0][-1] in ".。!！?？"]
        drafts = (Drafted(f"{title} {heading}".strip(), *pair) for pair in whole)
        return next((each for each in drafts if not problems(each, passage)), None)


def drafts_of(passage: Passage, language: Language) -> Iterator[Drafted]:
    """All drafts that the rules make of a passage: by its heading when that asks, then by rule, sentences in order."""
    fitting = _fitting(passage, language)
    question = _asked_by(passage.headings[-1]) if passage.headings else ""
    if question and fitting:
        yield Drafted(question, *fitting[0])
    for rule in _RULES[language]:
        for text, evidence in fitting:
            found = rule.form.match(text)
            if found and rule.fits(found["x"]):
                yield Drafted(rule.question.format(x=_turned(found["x"], language)), found["y"].strip(), evidence)


def _fitting(passage: Passage, language: Language) -> list[tuple[str, str]]:
    """Sentences of a length that can be asked about: on one line, and as they stand in the passage."""
    spans = (passage.text[start:end] for start, end in sentences(passage.text))
    texts = ((" ".join(each.split()), each) for each in spans)
    return [pair for pair in texts if _SHORTEST[language] <= len(pair[0]) <= _LONGEST[language]]


def _turned(text: str, language: Language) -> str:
    """As the one who asks would say it: an article at the beginning is small, and what is yours is mine."""
    if language == "zh":
        return re.sub("您|你", "我", text)
    text = re.sub(r"^(An?|The)\b", lambda article: article[0].lower(), text)
    for yours, mine in (("your", "my"), ("yourself", "myself"), ("you are", "I am"), ("you", "I")):
        text = re.sub(rf"\b{yours}\b", mine, text)
    return text


def _asked_by(heading: str) -> str:
    """The question that a heading asks, if it does."""
    heading = _NUMBERING.sub("", heading.strip(" ¶#")).strip()
    if how := _HOW_TO.match(heading.rstrip("?")):
        return f"How do I {_turned(how[1][:1].lower() + how[1][1:], 'en')}?"
    if heading[-1:] in ("?", "？"):
        return heading
    return f"{heading}？" if re.match("如何|怎样|怎么|为什么", heading) else ""
