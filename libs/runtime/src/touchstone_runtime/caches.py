"""How often a cache had what was asked for. Caches count; metrics.py tells Prometheus."""

from dataclasses import dataclass


@dataclass
class CacheUse:
    hits: int = 0
    misses: int = 0

    def count(self, hit: bool) -> None:
        if hit:
            self.hits += 1
        else:
            self.misses += 1
