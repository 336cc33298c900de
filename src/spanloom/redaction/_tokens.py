"""Secrets recognized by their form alone: mostly tokens that begin with a vendor's prefix.

The prefix is followed by one run of one class of characters, so matching is linear in the text. Where the text was cut,
the run may be shorter than that of a whole token.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from spanloom.redaction._late import late
from spanloom.redaction._looks import is_wordy
from spanloom.redaction._marks import CUT, MARK
from spanloom.redaction._trie import AnyOf

__all__ = ["redact_tokens", "redact_torn"]

# Prefixes, the class of the characters that follow, and their least number. Sources: the vendors' own documentation,
# and the public rules of gitleaks, detect-secrets and GitHub's secret scanning.
_FORMS: Final = (
    # models and what is around them
    ("sk-proj- sk-ant- sk-or- sk-svcacct- sk-admin- sk-lf- pk-lf- sk-None-", r"[\w\-]", 12),
    ("sk- pplx- jina_ xai- fw_ tgp_v1_ e2b_ gsk_ r8_ hf_ api_org_ csk- ds-", r"[\w\-]", 18),
    ("pcsk_ tvly- nvapi- voyage- lsv2_pt_ lsv2_sk_ wandb_v1_ fal- cr- sk_ps_ essecret_", r"[\w\-]", 18),
    ("pylf_v1_ apify_api_ sess- m0- sk_ ak_ ak- tk_", r"[\w\-]", 20),
    ("as- rpa_", "[A-Za-z0-9]", 22),
    ("fc-", "[0-9a-f]", 32),
    ("bedrock-api-key-", r"[\w+/=]", 16),
    # code, packages, builds
    ("ghp_ gho_ ghu_ ghs_ ghr_ github_pat_", r"\w", 12),
    ("glpat- gldt- glrt- glcbt- glptt- glft- glimt- glagent- gloas- glsoat- GR1348941", r"[\w\-.]", 12),
    (
        "npm_ pypi- rubygems_ CLOJARS_ dckr_pat_ dckr_oat_ oy2 sgp_ bkua_ CCIPAT_ CCIPRJ_ ccipat_",
        r"[\w\-]",
        16,
    ),
    ("ATATT ATCTT ATBB ATSP BBDC-", r"[\w\-=+/]", 16),
    (
        "nfp_ nfc_ nfo_ nfu_ nfb_ vercel_blob_rw_ vcp_ vci_ vca_ vcr_ vck_ pnu_ pnb_ xau_ sktsec_ pat_",
        r"\w",
        24,
    ),
    ("sqp_ squ_ sqa_ rootly_", "[0-9a-f]", 30),
    ("cio AKCp cmVmdGtu", "[A-Za-z0-9]", 32),
    ("tfp_ fio-u- rdme_ testsk_ NF-", r"[\w\-.]", 24),
    ("sdk- mob- api- pat-na1- pat-na2- pat-na3- pat-eu1- pat-ap1-", r"[0-9a-f\-]", 36),
    ("lin_api_ lin_oauth_ ntn_ secret_ figd_ figu_ PMAK- phc_ phx_ CFPAT- pul- HRKU-", r"[\w\-]", 24),
    # clouds
    ("AKIA ASIA ABIA ACCA", r"[A-Z0-9]", 12),
    ("ABSK LTAI", r"[A-Za-z0-9+/=]", 16),
    ("AIza GOCSPX- ya29. 1//0", r"[\w\-.]", 20),
    ("dop_v1_ doo_v1_ dor_v1_ dapi dkea", r"[0-9a-f\-]", 24),
    ("hvs. hvb. hvr. dp.st. dp.pt. dp.ct. dp.sa. dp.scim. dp.audit. atlasv1. dvc_ tskey-", r"[\w\-.]", 12),
    (
        "cfut_ cfat_ cfk_ v1.0- fo1_ fm1_ fm2_ rnd_ pscale_tkn_ pscale_pw_ pscale_oauth_ napi_",
        r"[\w\-.=/+]",
        20,
    ),
    ("sbp_ sb_secret_ sbp_oauth_", r"[\w\-]", 16),
    ("IQoJb3JpZ2lu FwoGZXIvYXdz FQoGZXIvYXdz", r"[\w+/=%]", 40),
    ("4/0A AQVN YC", r"[\w\-]", 32),
    ("AKID s.", "[A-Za-z0-9]", 24),
    ("SCW A3-", r"[A-Z0-9\-]", 17),
    ("AVNS_ mdb_sa_sk_ signkey-prod- signkey-test- tr_prod_ tr_dev_ tr_stg_", r"[\w\-]", 16),
    ("essu_ cflt", r"[\w\-+/=]", 40),
    # money and shops
    ("sk_live_ sk_test_ rk_live_ rk_test_ whsec_ sk_org_", r"[\w+/=]", 12),
    ("shpat_ shpca_ shppa_ shpss_ shptka_ shpua_", r"[0-9a-zA-Z]", 16),
    ("sq0atp- sq0csp- sq0idp- access-sandbox- access-production-", r"[\w\-]", 16),
    ("EAAA EZAK EZTK", r"[\w\-]", 30),
    ("rzp_live_ rzp_test_", "[A-Za-z0-9]", 12),
    ("live_ pk_prod_ duffel_test_ shippo_test_ FLWSECK- FLWSECK_TEST- Mid-server-", r"[\w\-]", 20),
    ("access_token$production$ access_token$sandbox$", r"[\w$]", 16),
    ("AQE", r"[\w\-+/=]", 60),
    # messages and mail
    (
        "xoxa- xoxb- xoxc- xoxd- xoxe- xoxo- xoxp- xoxr- xoxs- xapp- xwfp- xoxe.xoxb- xoxe.xoxp-",
        r"[\w\-%.]",
        10,
    ),
    ("SG. xkeysib- xsmtpsib-", r"[\w\-.]", 20),
    ("re_", r"\w", 24),
    ("md-", r"[\w\-]", 22),
    ("EAA IGQV IGQW IGAA sl. sl.u.", r"[\w\-]", 60),
    ("act. rft. clt.", "[A-Za-z0-9!]", 30),
    ("dG9rO", r"[\w+/=]", 40),
    ("key- pubkey-", "[0-9a-f]", 24),
    ("SK", "[0-9a-f]", 32),
    # watching
    (
        "glsa_ glc_ sntrys_ sntryu_ NRAK- NRAA- NRII- NRJS- NRRA- NRIQ- NRSP- NRBR- dt0c01. ddp_",
        r"[\w\-.+/=]",
        16,
    ),
    ("hcaik_ hcaic_ hcamk_ hcamc_ hcalk_ hcalc_ hcbik_ hcbic_", "[0-9a-z]", 30),
    # keys of one's own
    ("AGE-SECRET-KEY-1 age-secret-key-1", r"\w", 12),
    ("xprv yprv zprv tprv", r"\w", 60),
    ("ops_eyJ gAAAAA", r"[\w\-+/=]", 40),
    ("b3BlbnNzaC1rZXktdjE", r"[\w+/=]", 24),  # of OpenSSH, without the lines around it
    ("base64url.bearer.authorization.k8s.io.", r"[\w\-]", 12),
    ("eyJ eyK", r"[\w\-]", 8),
)
_BEHIND: Final = {prefix: (kind, least) for prefixes, kind, least in _FORMS for prefix in prefixes.split()}
# An escape such as \n, or a percent-encoded character, is not part of the token behind it.
_ESCAPE_BEFORE: Final = late(r"(?:\\[nrtbf]|%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2})\Z")
_LONGEST_ESCAPE: Final = 6
# So short that names begin with them, too: behind these, a run of words and numbers is a name.
_VAGUE: Final = frozenset(
    "sk- xai- fw_ hf_ r8_ api_org_ csk- ds- fal- cr- secret_ pul- phc_ ntn_ npm_ pypi- key- jina_ voyage-".split()  # noqa: SIM905 -- as above
) | frozenset(
    [
        "sess-",
        "m0-",
        "sk_",
        "ak_",
        "ak-",
        "tk_",
        "as-",
        "pat_",
        "live_",
        "re_",
        "md-",
        "YC",
        "s.",
        "SCW",
        "A3-",
    ]
)
# So many random characters are never all lower case: this is a name that happens to begin like a token.
_WORDS: Final = late(r"[a-z_\-]+")
_WORDS_LENGTH: Final = 12
_LONGEST_NAME: Final = 200
_JWT: Final = frozenset({"eyJ", "eyK"})
_JWT_REST: Final = late(r"(?:\.[\w\-]*){1,6}", re.ASCII)

# Forms without a telling prefix: what such a text must contain, how often at least, and the pattern.
_OTHERS: Final = (
    # Telegram: the bot's number, then the token
    (
        ":AA",
        1,
        late(
            r"(?:(?<![0-9A-Za-z])|(?<=/bot))(?P<kept>[0-9]{6,12}:)AA(?:[\w\-]{30,}|[\w\-]*(?=…|\.\.\.))",
            re.ASCII,
        ),
    ),
    # Discord: the bot's number in base64, a time, a signature
    (
        ".",
        2,
        late(
            r"(?<![\w\-])(?P<kept>)[MNO][\w\-]{22,27}\.[\w\-]{6}\.(?:[\w\-]{20,}|[\w\-]*(?=…|\.\.\.))",
            re.ASCII,
        ),
    ),
    # Entra ID: client secrets
    ("Q~", 1, late(r"(?<![\w~.\-])(?P<kept>)[\w~.\-]{3}[78]Q~[\w~.\-]{10,}", re.ASCII)),
    # Mailchimp: the data centre at the end
    ("-us", 1, late(r"(?<![0-9a-zA-Z])(?P<kept>)[0-9a-f]{32}-us[0-9]{1,2}(?![0-9A-Za-z])")),
    # the inside of a PEM block whose first and last line are missing; what follows one is judged by it
    (
        "MII",
        1,
        late(
            r"(?<![A-Za-z0-9+/\-])(?<!-----\n)(?<!-----\\n)(?P<kept>)MII[A-Za-z0-9+/]{61}(?:(?:\s|\\+n)[A-Za-z0-9+/=]{1,64})++"
        ),
    ),
    # Mailgun: the key, and the numbers of who may use it
    (
        "-",
        2,
        late(r"(?<![0-9A-Za-z\-])(?P<kept>)[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8}(?![0-9A-Za-z\-])"),
    ),
    # Airtable, ClickUp, Asana, Salesforce, Facebook's apps, Convex: an id, then the token
    ("pat", 1, late(r"(?<![0-9A-Za-z])(?P<kept>pat)[0-9A-Za-z]{14}\.[0-9a-f]{16,}")),
    ("pk_", 1, late(r"(?<![0-9A-Za-z])(?P<kept>pk_[0-9]{5,12}_)[0-9A-Z]{16,}")),
    (":", 1, late(r"(?<![\w/.])(?P<kept>[0-2]/[0-9]{13,20}(?:/[0-9]{13,20})?:)[0-9a-f]{32}", re.ASCII)),
    ("00D", 1, late(r"(?<![0-9A-Za-z])(?P<kept>00D[0-9A-Za-z]{12,15}!)[\w.]{16,}", re.ASCII)),
    (
        "|",
        1,
        late(
            r"(?<![\w\-])(?P<kept>(?:[0-9]{13,17}|(?:prod|dev|preview|project):[\w\-:]{1,100})\|)[\w\-]{24,}[\w\-+/=]*",
            re.ASCII,
        ),
    ),
    # Okta
    ("00", 1, late(r"(?<![\w\-])(?P<kept>)00(?=[\w\-]*[a-z])(?=[\w\-]*[A-Z])[\w\-]{40}(?![\w\-])", re.ASCII)),
    # Yandex
    (
        "t1.",
        1,
        late(
            r"(?<![\w.])(?P<kept>t1\.)(?:[\w\-]{16,}={0,2}\.[\w\-]{40,}|[\w\-]{8,}(?:={0,2}\.[\w\-]*)?(?=…|\.\.\.))",
            re.ASCII,
        ),
    ),
    # X
    (
        "A" * 20,
        1,
        late(
            r"(?<![\w%+/])(?P<kept>)A{20,24}(?!A)\w[\w+/]{4,}(?:(?:%[23][0-9A-Fa-f]|=)[\w%+/=]{16,}|[\w%+/=]*(?=…|\.\.\.))",
            re.ASCII,
        ),
    ),
    # Firebase
    (":APA91", 1, late(r"(?<![\w\-])(?P<kept>)[\w\-]{11,22}:APA91[\w\-]{16,}", re.ASCII)),
    # Azure: what its services put near the end of their keys
    *(
        (
            held,
            1,
            late(rf"(?<![\w+/\-])(?P<kept>)[\w+/\-]{{30,}}{re.escape(held)}[\w+/\-]{{5,}}={{0,2}}", re.ASCII),
        )
        for held in ("JQQJ99", "AzCa", "AzSe", "AzFu", "ACDb", "APIM", "+ASt", "+ASb", "+AEh", "+ARm", "AIoT")
    ),
    # 64 random bytes: keys of storage accounts, of InfluxDB. A digest says which one it is: sha512-...
    ("==", 1, late(r"(?<![\w+/=\-])(?P<kept>)[\w+/\-]{86}==(?![\w+/=])", re.ASCII)),
    # digests of passwords: bcrypt, crypt, Argon2, Django, Werkzeug
    (
        "$",
        2,
        late(
            r"(?P<kept>\$(?:2[abxy]?|[1567y]|gy|apr1|sha1|scrypt|argon2(?:id?|d)|pbkdf2(?:-sha[0-9]{1,3})?)\$(?:[\w=,]{1,40}\$){0,3})"
            r"[A-Za-z0-9./+=$]{22,}"
        ),
    ),
    (
        "$",
        2,
        late(r"(?P<kept>(?:pbkdf2[_:]sha[0-9]{1,3}|scrypt)[:$][0-9:]{1,20}\$)[\w+/=$.\-]{20,}", re.ASCII),
    ),
    # a private key in base64: the first words say whether it is one
    (
        "LS0tLS1CRUdJTiB",
        1,
        late(
            r"(?P<kept>LS0tLS1CRUdJTiB)(?:QUklW|QR1AgUFJJ|SU0EgUFJJ|FQyBQUklW|EU0EgUFJJ|FTkNSWVBU|PUEVOU1NI)"
            r"[A-Za-z0-9+/=]*(?:(?:\s|\\+n)[A-Za-z0-9+/=]{16,})*"
        ),
    ),
    # nodes of blockchains, whose path is the key
    (
        "infura.io/",
        1,
        late(r"(?P<kept>\.infura\.io/(?:ws/)?v3/)[0-9a-f]{16,}"),
    ),
    (".alchemy", 1, late(r"(?P<kept>\.alchemy(?:api)?\.(?:com|io)/v2/)[\w\-]{16,}", re.ASCII)),
    ("quiknode.pro/", 1, late(r"(?P<kept>\.quiknode\.pro/)[0-9a-f]{16,}")),
    # webhooks, whose path is the secret
    (
        "hooks.slack",
        1,
        late(r"(?P<kept>hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/)[\w/\-%.]+", re.ASCII),
    ),
    (
        "/webhooks/",
        1,
        late(r"(?P<kept>discord(?:app)?\.com/api/(?:v[0-9]{1,2}/)?webhooks/[0-9]{1,25}/)[\w\-.]+", re.ASCII),
    ),
    (
        ".com/webhook",
        1,
        late(r"(?P<kept>(?:webhook\.office|outlook\.office)(?:365)?\.com/webhook(?:b2)?/)[^\s\"'<>]+"),
    ),
    ("hooks.zapier", 1, late(r"(?P<kept>hooks\.zapier\.com/hooks/(?:catch|standard)/)[\w/\-]+", re.ASCII)),
    (
        "maker.ifttt",
        1,
        late(r"(?P<kept>maker\.ifttt\.com/trigger/[\w\-]{1,100}/(?:json/)?with/key/)[\w\-]+", re.ASCII),
    ),
)
_TORN: Final = late(rf"(?<![\w\-+~/=:@.])[\w\-+~/=:@.]{{6,}}?(?={CUT})", re.ASCII)
_PART: Final = late(r"[\w\-~]{6,}", re.ASCII)
_DRAWN: Final = late(r"(?=.*[0-9])(?=.*[A-Za-z]).*|.*[a-z][A-Z].*")
_TORN_LINES: Final = late(
    rf"(?<![A-Za-z0-9+/])(?:[A-Za-z0-9+/]{{48,76}}+(?:\s|\\+n))++[A-Za-z0-9+/=]*+"
    rf"(?:(?:\s|\\+n)?-{{1,5}}(?:E|EN|END[ A-Z]{{0,40}})?)?(?={CUT})"
    rf"|(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{{40,}}+(?={CUT})"
)
_AWS_IDS: Final = ("AKIA", "ASIA", "ABIA", "ACCA")
_AWS_ID: Final = late(r"(?<![A-Za-z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}")
_AWS_SECRET: Final = late(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/])")


_prefixes: Final = AnyOf(_BEHIND)


def redact_tokens(text: str) -> str:
    """Return `text` with tokens of known form redacted; their prefixes stay, to show whose they were."""
    out: list[str] = []
    done = passed = 0
    has_aws_id = "A" in text and any(map(text.__contains__, _AWS_IDS)) and _AWS_ID.search(text) is not None
    for found in _prefixes.found_in(text):
        start, end = found.span()
        if start < passed or not _begins(text, start):
            continue
        prefix = found[0]
        whole, cut = _runs(*_BEHIND[prefix])
        run = whole.match(text, end) or cut.match(text, end)
        if run is None:
            continue
        stop = run.end()
        if stop - end >= _WORDS_LENGTH and (
            _WORDS.fullmatch(text, end, stop) is not None
            or (prefix in _VAGUE and stop - end < _LONGEST_NAME and is_wordy(text[end:stop]))
        ):
            passed = stop
            continue
        if prefix in _JWT:
            rest = _JWT_REST.match(text, stop)
            if rest is None:  # base64 of any JSON: a cursor, say
                passed = stop
                continue
            stop = rest.end()
        out += (text[done:end], MARK)
        done = passed = stop
    if out:
        out.append(text[done:])
        text = "".join(out)
    for held, times, pattern in _OTHERS:
        if held in text and (times == 1 or text.count(held) >= times):
            text = pattern.sub(rf"\g<kept>{MARK}", text)
    # The secret half of an AWS pair has no form of its own, but occurs with the other half.
    return _AWS_SECRET.sub(_unless_plain, text) if has_aws_id else text


@cache
def _runs(kind: str, least: int) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of the rest of a token, whole and cut; compiled when needed, as all of them take 3 ms."""
    return re.compile(f"{kind}{{{least},}}", re.ASCII), re.compile(f"{kind}*(?={CUT})", re.ASCII)


def redact_torn(text: str) -> str:
    """Return `text` with whatever may be half a secret, right before a cut, redacted."""
    return _TORN.sub(_unless_words, _TORN_LINES.sub(_unless_plain, text))


def _unless_words(found: re.Match[str]) -> str:
    text = found[0]
    for part in _PART.finditer(text):
        if _DRAWN.fullmatch(part[0]) is not None:
            return text[: part.start()] + MARK
    return text


def _begins(text: str, start: int) -> bool:
    """Return whether a token may begin at `start`: not behind a letter or a digit, unless those are an escape."""
    if not start or not text[start - 1].isalnum():
        return True
    return _ESCAPE_BEFORE.search(text[max(0, start - _LONGEST_ESCAPE) : start]) is not None


def _unless_plain(found: re.Match[str]) -> str:
    text = found[0]
    is_mixed = any(map(str.isdigit, text)) and any(map(str.isupper, text)) and any(map(str.islower, text))
    return MARK if is_mixed else text
