"""Words whose exchange changes what a sentence says: opposites, units, months, countries; English and Chinese."""

from __future__ import annotations


def _pairs(listed: str) -> tuple[tuple[str, str], ...]:
    return tuple((left, right) for left, right in (each.split("/") for each in listed.split()))


def words(listed: str) -> tuple[str, ...]:
    """The words of a text, for tables that are easier to read in a row."""
    return tuple(listed.split())


def _both_ways(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Each word to its opposite; of two opposites the first listed counts."""
    found: dict[str, str] = {}
    for left, right in pairs:
        found.setdefault(left, right)
        found.setdefault(right, left)
    return {word.replace("_", " "): other.replace("_", " ") for word, other in found.items()}


ENGLISH_OPPOSITES = _both_ways(
    _pairs(
        "increase/decrease increases/decreases increased/decreased increasing/decreasing higher/lower "
        "highest/lowest high/low more/less most/least largest/smallest larger/smaller large/small greater/lesser "
        "bigger/smaller before/after earlier/later early/late earliest/latest north/south northern/southern "
        "east/west eastern/western northeast/southwest northwest/southeast above/below positive/negative "
        "positively/negatively male/female men/women man/woman father/mother son/daughter brother/sister "
        "husband/wife king/queen won/lost win/lose success/failure successful/unsuccessful "
        "successfully/unsuccessfully accepted/rejected accept/reject supported/opposed support/oppose "
        "supports/opposes allowed/forbade promotes/inhibits promote/inhibit promoted/inhibited "
        "activates/inactivates activated/inactivated activation/inhibition enhances/suppresses enhanced/suppressed "
        "enhance/suppress upregulated/downregulated upregulates/downregulates improves/worsens improved/worsened "
        "improve/worsen induces/prevents induced/prevented gain/loss presence/absence common/rare often/rarely "
        "frequently/seldom always/never many/few majority/minority public/private internal/external inside/outside "
        "maximum/minimum upper/lower poor/rich legal/illegal possible/impossible able/unable longer/shorter "
        "longest/shortest faster/slower fastest/slowest older/younger oldest/youngest safe/dangerous "
        "sensitive/resistant dependent/independent best/worst better/worse strong/weak stronger/weaker began/ended "
        "begin/end begins/ends started/stopped opened/closed major/minor easy/difficult simple/complex "
        "ancient/modern permanent/temporary formal/informal direct/indirect directly/indirectly reduces/increases "
        "reduced/increased reduce/increase reducing/increasing reduction/increase lowered/raised lowers/raises "
        "fell/rose falls/rises beneficial/harmful effective/ineffective efficient/inefficient stable/unstable "
        "required/unnecessary similar/different same/opposite first/last former/latter top/bottom front/back "
        "wide/narrow hot/cold warm/cool wet/dry urban/rural wealthy/poor victory/defeat ally/enemy allies/enemies "
        "agreed/refused approved/rejected included/excluded includes/excludes attacked/defended joined/left "
        "bought/sold accelerates/slows delayed/hastened delays/hastens protects/damages healthy/diseased "
        "acute/chronic failed_to/managed_to unable_to/able_to without/with associated_with/unrelated_to "
        "at_least/at_most"
    )
)
"""Lower-case words and phrases of English to what says the opposite."""
del ENGLISH_OPPOSITES["with"], ENGLISH_OPPOSITES["end"], ENGLISH_OPPOSITES["left"], ENGLISH_OPPOSITES["back"]

CHINESE_OPPOSITES = _both_ways(
    _pairs(
        "增加/减少 上升/下降 提高/降低 最大/最小 最高/最低 最多/最少 最早/最晚 最长/最短 最好/最差 之前/之后 "
        "以前/以后 早于/晚于 高于/低于 大于/小于 多于/少于 东部/西部 南部/北部 东北/西南 东南/西北 东面/西面 "
        "南面/北面 北方/南方 北侧/南侧 东侧/西侧 男性/女性 男子/女子 父亲/母亲 儿子/女儿 哥哥/姐姐 弟弟/妹妹 "
        "丈夫/妻子 支持/反对 成功/失败 开始/结束 第一次/最后一次 首次/末次 允许/禁止 同意/拒绝 赞成/反对 胜利/失败 "
        "战胜/败给 击败/败给 优点/缺点 国内/国外 内部/外部 公开/秘密 合法/非法 直接/间接 相同/不同 正面/负面 "
        "积极/消极 上层/下层 加强/削弱 扩大/缩小 进入/离开 加入/退出 买入/卖出 出口/进口 有利/不利 常见/罕见 "
        "容易/困难 永久/临时 古代/现代 上半/下半 富裕/贫穷 长于/短于 强于/弱于 左侧/右侧 左边/右边 上游/下游 "
        "早期/晚期 初期/末期 全部/少数 经常/很少 总是/从不 大多数/少数 至少/至多 白天/夜间 夏季/冬季 春季/秋季 "
        "生前/死后 先于/后于 安全/危险 简单/复杂 公立/私立 城市/乡村"
    )
)
"""Simplified characters."""

CHINESE_NEGATIONS: tuple[tuple[str, str], ...] = _pairs(
    "并没有/已经 并不是/正是 没有/有 不是/是 并非/正是 不能/能 无法/能够 未能/成功 不会/会 并未/已经 从未/曾经 "
    "不可以/可以 不再/仍然 不属于/属于 不包括/包括 不需要/需要 可以/不可以 能够/无法 属于/不属于 包括/不包括 "
    "需要/不需要 位于/并不位于 曾经/从未 已经/并未 仍然/不再 具有/不具有 拥有/并未拥有 担任/没有担任 "
    "获得/没有获得 成为/没有成为 出生于/并非出生于 毕业于/并非毕业于 参加/没有参加 加入/没有加入 采用/没有采用 "
    "发现/没有发现 导致/没有导致 成立于/并非成立于 来自/并非来自 是由/不是由 是在/不是在 是一/不是一 是/不是 "
    "会/不会"
)
"""What is found to what takes its place; the first of a statement's that is found at a place counts."""

ENGLISH_UNITS = _both_ways(
    _pairs(
        "metres/kilometres meters/kilometers kilometres/miles kilometers/miles km/miles feet/metres inches/feet "
        "acres/square_miles kg/tons kilograms/tonnes pounds/tons grams/kilograms mg/g hours/minutes "
        "minutes/seconds days/weeks weeks/months months/years years/decades decades/centuries million/billion "
        "billion/trillion thousand/million dollars/euros litres/millilitres watts/kilowatts degrees/radians mm/cm "
        "cm/m"
    )
)
CHINESE_UNITS = _both_ways(
    _pairs(
        "公里/米 千米/米 厘米/米 毫米/厘米 公尺/公里 平方公里/平方米 公顷/平方公里 公斤/吨 千克/吨 克/公斤 "
        "小时/分钟 分钟/秒 个月/天 个月/周 星期/天 万/亿 万人/亿人 万元/亿元 美元/日元 英里/公里 英尺/米 世纪/年代 "
        "百万/千万 岁/个月"
    )
)

MONTHS = words("January February March April May June July August September October November December")
WEEKDAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
COUNTRIES = words(
    "France Germany Italy Spain Portugal England Scotland Ireland Poland Russia China Japan India Brazil Mexico "
    "Canada Australia Egypt Turkey Greece Sweden Norway Denmark Finland Austria Hungary Switzerland Belgium Iran "
    "Iraq Israel Argentina Chile Peru Cuba Nigeria Kenya Vietnam Thailand Indonesia Pakistan"
)
DEMONYMS = words(
    "French German Italian Spanish Portuguese English Scottish Irish Polish Russian Chinese Japanese Indian "
    "Brazilian Mexican Canadian Australian Egyptian Turkish Greek Swedish Norwegian Danish Finnish Austrian "
    "Hungarian Swiss Belgian Iranian Israeli Dutch American British"
)
NUMBER_WORDS = words("two three four five six seven eight nine ten eleven twelve")
ORDINALS = words("first second third fourth fifth sixth seventh eighth ninth tenth")

CHINESE_COUNTRIES = words(
    "中国 美国 英国 法国 德国 意大利 西班牙 葡萄牙 俄罗斯 日本 韩国 印度 巴西 墨西哥 加拿大 澳大利亚 埃及 土耳其 "
    "希腊 瑞典 挪威 丹麦 芬兰 奥地利 匈牙利 瑞士 比利时 荷兰 伊朗 伊拉克 以色列 阿根廷 智利 秘鲁 古巴 越南 泰国 "
    "印度尼西亚 马来西亚 新加坡 菲律宾 波兰 爱尔兰 新西兰 南非"
)
CHINESE_PLACES = words(
    "北京 上海 天津 重庆 广州 深圳 南京 杭州 武汉 成都 西安 沈阳 大连 青岛 苏州 香港 台北 高雄 台南 台中 澳门 "
    "东京 大阪 京都 纽约 伦敦 巴黎 柏林 罗马 莫斯科 河北 山西 辽宁 吉林 黑龙江 江苏 浙江 安徽 福建 江西 山东 "
    "河南 湖北 湖南 广东 海南 四川 贵州 云南 陕西 甘肃 青海 广西 西藏 宁夏 新疆 内蒙古"
)
CHINESE_DYNASTIES = words("秦朝 汉朝 唐朝 宋朝 元朝 明朝 清朝 隋朝 晋朝 西汉 东汉 北宋 南宋 西晋 东晋")
