"""Every package the miniverse is drawn from: exact version, digest, licence, vendor and role."""

from dataclasses import dataclass
from enum import StrEnum


class Registry(StrEnum):
    """Whose client fetches the package."""

    NPM = "npm"
    DEBIAN = "debian"


class Kind(StrEnum):
    """What the drawings are; the recipes weigh their samples by it."""

    EMOJI = "emoji"
    FLAG = "flag"
    CLIP_ART = "clip art"
    INTERFACE = "interface"


class Role(StrEnum):
    """Where the drawings go. A vendor has one role only, so no style is on both sides."""

    UPSTREAM = "upstream"
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True)
class Package:
    """One archive of a registry; `sha256` is that of the archive."""

    registry: Registry
    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Source:
    """One drawing style: its package, who drew it, under which licence (SPDX), and the words that name the style."""

    name: str
    package: Package
    vendor: str
    author: str
    project: str
    licence: str
    kind: Kind
    role: Role
    style: str


ALLOWED_LICENCES = frozenset({"Apache-2.0", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "MIT", "LicenseRef-public-domain"})

EMOJIBASE = Package(
    Registry.NPM, "emojibase-data", "17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a"
)


def _iconify(
    name: str, version: str, sha256: str, vendor: str, author: str, project: str, licence: str, kind: Kind, style: str,
    role: Role = Role.UPSTREAM,
) -> Source:  # fmt: skip
    package = Package(Registry.NPM, f"@iconify-json/{name}", version, sha256)
    return Source(name, package, vendor, author, project, licence, kind, role, style)


def _streamline(name: str, version: str, sha256: str, style: str, kind: Kind = Kind.INTERFACE) -> Source:
    return _iconify(
        name, version, sha256, "streamline", "Streamline", "webalys-hq/streamline-vectors", "CC-BY-4.0", kind, style
    )


EMOJI_SOURCES = (
    _iconify("twemoji", "1.2.5", "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
             "twitter", "Twitter, Inc. and other contributors", "jdecked/twemoji", "CC-BY-4.0",
             Kind.EMOJI, "flat twemoji style"),
    _iconify("emojione", "1.2.3", "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
             "emojione", "Emoji One", "EmojiTwo/emojitwo", "CC-BY-4.0", Kind.EMOJI, "emojione style"),
    _streamline("streamline-emojis", "1.2.4", "5dac87c876b322500989828c5823143e0100d78881627a2e4081a4b897cbfdbc",
                "outlined streamline style", Kind.EMOJI),
    _iconify("fluent-emoji", "1.2.7", "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
             "microsoft", "Microsoft Corporation", "microsoft/fluentui-emoji", "MIT",
             Kind.EMOJI, "shaded fluent style"),
    _iconify("fluent-emoji-flat", "1.2.6", "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
             "microsoft", "Microsoft Corporation", "microsoft/fluentui-emoji", "MIT", Kind.EMOJI, "flat fluent style"),
    _iconify("emojione-v1", "1.2.3", "6641d59d48a42823fdc2b84e7427e9f302944eb98d2c7d94d6e67c139e7b37b3",
             "emojione", "Emoji One", "joypixels/emojione-legacy", "CC-BY-SA-4.0",
             Kind.EMOJI, "glossy emojione classic style"),
)  # fmt: skip

FLAG_SOURCES = (
    _iconify("flag", "1.2.12", "42246bc20f6154739a192172d71ffe477747ad38278f2e912ec43f4dcb5a15e0",
             "flag-icons", "Panayiotis Lipiridis", "lipis/flag-icons", "MIT", Kind.FLAG, "rectangular flag icon"),
    _iconify("flagpack", "1.2.8", "165ea189ef6ee00b8c10d66c0a2702a6afe1d89d7feafdc3a02a459d65580483",
             "flagpack", "Yummygum", "Yummygum/flagpack-core", "MIT", Kind.FLAG, "small flag icon"),
    _iconify("cif", "1.2.7", "804801450b77e3b2c9a2b716fb45b44ee2a97e702e21ac6bca6358d0f7eb13c8",
             "coreui", "creativeLabs Łukasz Holeczek", "coreui/coreui-icons", "CC0-1.0", Kind.FLAG, "simple flag icon"),
)  # fmt: skip

CLIP_ART_SOURCES = (
    Source(
        "openclipart",
        Package(Registry.DEBIAN, "openclipart-svg", "1:0.18+dfsg-19",
                "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5"),
        "openclipart", "contributors of the Open Clip Art Library", "openclipart.org", "LicenseRef-public-domain",
        Kind.CLIP_ART, Role.UPSTREAM, "clip art",
    ),
)  # fmt: skip

INTERFACE_SOURCES = (
    _iconify("icon-park", "1.2.4", "c1a25212a31602aca93c3fa6f6b3288e89b9d7811afc132dfd78506e9d586b6f",
             "bytedance", "ByteDance", "bytedance/IconPark", "Apache-2.0", Kind.INTERFACE, "icon park interface icon"),
    _iconify("fluent-color", "1.2.21", "fa2ddaaac7a2a7b902659cea1b5b8c03017ce2ae56295138876b86a36177dfbe",
             "microsoft", "Microsoft Corporation", "microsoft/fluentui-system-icons", "MIT",
             Kind.INTERFACE, "fluent interface icon"),
    _iconify("flat-color-icons", "1.2.3", "d8878a9b0f02d749bc8671eb7d47882eb711185cbcefbb365cbfb488773c4786",
             "icons8", "Icons8", "icons8/flat-Color-icons", "MIT", Kind.INTERFACE, "flat color interface icon"),
    _iconify("meteocons", "1.2.4", "1c0b49c6375c0e35c3ed65db6e41e9811a0cbd2368c13ee27f870f60c6185ff0",
             "meteocons", "Bas Milius", "basmilius/weather-icons", "MIT", Kind.INTERFACE, "weather interface icon"),
    _iconify("marketeq", "1.2.2", "80070c7b0fb41ed5198ecadb9145984d2221b975bb9e0f52f563beb241d549cb",
             "marketeq", "Marketeq", "Marketeq icon set", "MIT", Kind.INTERFACE, "marketeq interface icon"),
    _streamline("streamline-kameleon-color", "1.2.2",
                "5f972d986afb340d8a45d7a16e767f99f91fdd94db53e46a78c79847212aed7b", "round kameleon interface icon"),
    _streamline("streamline-plump-color", "1.2.2",
                "33ed8a9ebda9ed896125f1e01873105688d68d0b0c95ca1bcead5a41309afcf6", "plump interface icon"),
    _streamline("streamline-ultimate-color", "1.2.2",
                "46133a11f3734bcef29066391d7edc141ed1d8056242ddfa1b5d36ce286420b6", "ultimate interface icon"),
    _streamline("streamline-cyber-color", "1.2.2",
                "bc71bb624b8a500841e2e47c0175bf13dfb99b38a6ddc2421d3ac21331e21eac", "cyber interface icon"),
    _streamline("streamline-stickies-color", "1.2.2",
                "e96b8b2bbe1efde22272c420a75024b4b2c7e224ec1f323c93a421a07410971e", "sticker interface icon"),
)  # fmt: skip

HELD_OUT_SOURCES = (
    _iconify("noto-v1", "1.2.5", "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
             "google", "Google Inc", "googlefonts/noto-emoji", "Apache-2.0", Kind.EMOJI, "noto blob style", Role.TRAIN),
    _iconify("circle-flags", "1.2.11", "ee9a03f6a6fdd79cc6325bdcb7bb93b83d331e60b16e226188f154a64b6bb4a9",
             "circle-flags", "HatScripts", "HatScripts/circle-flags", "MIT", Kind.FLAG, "round flag icon", Role.TRAIN),
    _iconify("openmoji", "1.2.29", "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5",
             "openmoji", "OpenMoji", "hfg-gmuend/openmoji", "CC-BY-SA-4.0", Kind.EMOJI, "openmoji style",
             Role.VALIDATION),
    _iconify("noto", "1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
             "google", "Google Inc", "googlefonts/noto-emoji", "Apache-2.0", Kind.EMOJI, "noto style", Role.TEST),
    _iconify("fxemoji", "1.2.2", "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef",
             "mozilla", "Mozilla", "mozilla/fxemoji", "Apache-2.0", Kind.EMOJI, "firefox style", Role.TEST),
    Source(
        "noto-flags",
        Package(Registry.NPM, "emoji-datasource-google", "16.0.0",
                "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"),
        "google", "Google Inc", "googlefonts/noto-emoji", "Apache-2.0", Kind.FLAG, Role.TEST, "noto waved flag",
    ),
)  # fmt: skip

UPSTREAM_SOURCES = EMOJI_SOURCES + FLAG_SOURCES + CLIP_ART_SOURCES + INTERFACE_SOURCES
ALL_SOURCES = UPSTREAM_SOURCES + HELD_OUT_SOURCES
SOURCES_BY_NAME = {source.name: source for source in ALL_SOURCES}
