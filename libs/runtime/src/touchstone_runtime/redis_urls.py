"""One URL of Redis for every client. redis-py and Celery write Unix sockets, database numbers and options in different
ways, and Sentinel in none that both read: the forms of either are parsed here, and written out again for each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

TCP, TLS, UNIX, CELERYS_UNIX, SENTINEL = "redis", "rediss", "unix", "redis+socket", "sentinel"
SCHEMES = (TCP, TLS, UNIX, CELERYS_UNIX, SENTINEL)
REDIS_PORT, SENTINEL_PORT = 6379, 26379

TLS_OPTIONS = ("ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_password")
_DATABASE = ("db", "virtual_host")
_COMMON = (*_DATABASE, "username", "password")
_SENTINELS = ("master_name", "sentinel_username", "sentinel_password", "ssl")
OPTIONS = {
    TCP: _COMMON,
    TLS: (*_COMMON, *TLS_OPTIONS),
    UNIX: _COMMON,
    CELERYS_UNIX: _COMMON,
    SENTINEL: (*_COMMON, *_SENTINELS, *TLS_OPTIONS),
}
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")

FORMS = (
    "redis://USER:PASSWORD@HOST:PORT/DATABASE; rediss:// likewise, with ssl_cert_reqs, ssl_check_hostname, "
    "ssl_ca_certs, ssl_certfile, ssl_keyfile and ssl_password as options behind ?; unix:///PATH?db=DATABASE, or "
    "redis+socket:///PATH?virtual_host=DATABASE; sentinel://USER:PASSWORD@HOST:PORT;sentinel://HOST:PORT/DATABASE"
    "?master_name=NAME, with sentinel_username, sentinel_password, and ssl=true for TLS. USER, PASSWORD and DATABASE "
    "may be left out. In a user name, password or path write reserved characters percent-encoded, such as %2F for / "
    "and %40 for @"
)


class UnusableRedisUrl(ValueError):
    """Says what is wrong and which forms are taken, and repeats nothing of the URL but its scheme."""

    def __init__(self, wrong: str) -> None:
        super().__init__(f"the URL of Redis {wrong}. These forms are taken: {FORMS}")


Address = tuple[str, int]


@dataclass(frozen=True)
class RedisUrl:
    """Where a Redis is and how it is spoken to. Either `path`, or `addresses`: one of the server, or those of the
    sentinels that know where `master` is."""

    addresses: tuple[Address, ...] = ()
    path: str = ""
    database: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    tls_options: Mapping[str, str | bool] = field(default_factory=dict, repr=False)
    """As redis-py names them."""
    master: str = ""
    sentinel_username: str = ""
    sentinel_password: str = field(default="", repr=False)

    @property
    def for_redis(self) -> str:
        """As redis-py reads it, without options of TLS. Not of sentinels."""
        if self.path:
            return f"unix://{self._login}{quote(self.path)}?db={self.database}"
        return f"{TLS if self.tls else TCP}://{self._login}{_host(*self.addresses[0])}/{self.database}"

    @property
    def for_celery(self) -> str:
        """As Celery's transport reads it, likewise."""
        if self.path:
            return f"{CELERYS_UNIX}://{self._login}{quote(self.path)}?virtual_host={self.database}"
        if not self.master:
            return self.for_redis
        return ";".join(f"{SENTINEL}://{self._login}{_host(*address)}/{self.database}" for address in self.addresses)

    @property
    def _login(self) -> str:
        if not self.username and not self.password:
            return ""
        password = f":{quote(self.password, safe='')}" if self.password else ""
        return f"{quote(self.username, safe='')}{password}@"


def _host(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_redis_url(url: str) -> RedisUrl:
    """Raises UnusableRedisUrl."""
    url = url.strip()
    scheme = url.partition("://")[0].lower()
    if "://" not in url or scheme not in SCHEMES:
        raise UnusableRedisUrl(f"begins with none of {', '.join(f'{known}://' for known in SCHEMES)}")
    if scheme == SENTINEL:
        return _sentinels([_split(each, SENTINEL) for each in url.split(";")])
    parts = _split(url, scheme)
    options = _options(scheme, [parts])
    username, password = _login_of(parts, options)
    if scheme in (UNIX, CELERYS_UNIX):
        path = unquote(parts.path)
        if parts.hostname or path in ("", "/"):
            raise UnusableRedisUrl("names no path of a socket: three slashes stand before it")
        return RedisUrl(path=path, database=_database(options, []), username=username, password=password)
    return RedisUrl(
        addresses=(_address(parts, REDIS_PORT),),
        database=_database(options, [parts.path]),
        username=username,
        password=password,
        tls=scheme == TLS,
        tls_options=_tls_options(options),
    )


def _sentinels(urls: list[SplitResult]) -> RedisUrl:
    options = _options(SENTINEL, urls)
    master = options.get("master_name")
    if not master:
        raise UnusableRedisUrl("of sentinels lacks ?master_name=, the name of the group that they watch")
    tls = _truth(options, "ssl", any(name in options for name in TLS_OPTIONS))
    # The servers behind the sentinels have one login, which need not stand in every URL.
    login = next((each for each in urls if each.username or each.password), urls[0])
    username, password = _login_of(login, options)
    return RedisUrl(
        addresses=tuple(_address(each, SENTINEL_PORT) for each in urls),
        database=_database(options, [each.path for each in urls]),
        username=username,
        password=password,
        tls=tls,
        tls_options=_tls_options(options),
        master=master,
        sentinel_username=options.get("sentinel_username", ""),
        sentinel_password=options.get("sentinel_password", ""),
    )


def _split(url: str, scheme: str) -> SplitResult:
    if not url.lower().startswith(f"{scheme}://"):
        raise UnusableRedisUrl(f"has parts between semicolons that do not all begin with {scheme}://")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise UnusableRedisUrl("cannot be taken apart, at its host or port") from None
    if parts.fragment or "@" in parts.path + parts.query:
        raise UnusableRedisUrl("has a character in its user name or password that must be percent-encoded")
    return parts


def _options(scheme: str, urls: list[SplitResult]) -> dict[str, str]:
    options: dict[str, str] = {}
    for parts in urls:
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if name not in OPTIONS[scheme]:
                raise UnusableRedisUrl(f"has an option that {scheme}:// does not take")
            if options.setdefault(name, value) != value:
                raise UnusableRedisUrl(f"says {name} twice")
    return options


def _login_of(parts: SplitResult, options: Mapping[str, str]) -> tuple[str, str]:
    return (
        unquote(parts.username or "") or options.get("username", ""),
        unquote(parts.password or "") or options.get("password", ""),
    )


def _address(parts: SplitResult, port: int) -> Address:
    return unquote(parts.hostname or "127.0.0.1"), parts.port or port


def _database(options: Mapping[str, str], paths: list[str]) -> int:
    said = {unquote(path).strip("/") for path in paths} | {options[name] for name in _DATABASE if name in options}
    numbers = list(_numbers(said - {""}))
    if len(numbers) > 1:
        raise UnusableRedisUrl("names two databases")
    return numbers[0] if numbers else 0


def _numbers(said: set[str]) -> Iterator[int]:
    for text in said:
        if not (text.isascii() and text.isdigit()):
            raise UnusableRedisUrl(
                "has a database that is no number, or a character in its password that must be percent-encoded"
            )
        yield int(text)


def _truth(options: Mapping[str, str], name: str, default: bool) -> bool:
    said = options.get(name, "").lower()
    if said and said not in (*_TRUE, *_FALSE):
        raise UnusableRedisUrl(f"has an option {name} that is neither true nor false")
    return said in _TRUE if said else default


def _tls_options(options: Mapping[str, str]) -> dict[str, str | bool]:
    said: dict[str, str | bool] = {name: options[name] for name in TLS_OPTIONS if name in options}
    if "ssl_cert_reqs" in said:
        checked = options["ssl_cert_reqs"].lower().removeprefix("cert_")
        if checked not in ("none", "optional", "required"):
            raise UnusableRedisUrl("has an option ssl_cert_reqs that is neither required, optional nor none")
        said["ssl_cert_reqs"] = checked
        if checked == "none":
            # Nobody's name is compared where nobody's certificate is.
            said.setdefault("ssl_check_hostname", "false")
    if "ssl_check_hostname" in said:
        said["ssl_check_hostname"] = _truth(
            {"ssl_check_hostname": str(said["ssl_check_hostname"])}, "ssl_check_hostname", True
        )
    return said
