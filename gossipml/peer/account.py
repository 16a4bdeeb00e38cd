"""Token accounts: how many messages a peer may send, and when it does.

Danner, Jelasity 2018, "Token account algorithms: the best of the proactive and reactive worlds".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Account:
    """When a peer spends its tokens.

    Parameters
    ----------
    strategy
        ``proactive``: it sends whenever it wakes, and never on receipt. ``simple``: on receipt it
        sends if it has a token; when it wakes, if its account is full. ``generalised``: on
        receipt it sends the more, the more it has. ``randomised``: that, and both at random.
    capacity
        C, tokens that an account holds at most.
    spend
        A, 1 to C: with so many tokens a useful message is answered by one.
    """

    strategy: Literal["proactive", "simple", "generalised", "randomised"] = "randomised"
    capacity: int = 20
    spend: int = 10

    def proactive(self, balance: int) -> float:
        """Return the probability of sending on waking, rather than saving the token.

        >>> [round(Account().proactive(a), 2) for a in (9, 10, 15, 20)]
        [0.0, 0.09, 0.55, 1.0]
        """
        C, A = self.capacity, self.spend
        match self.strategy:
            case "proactive":
                return 1.0
            case "randomised":
                return min(1.0, max(0.0, (balance - A + 1) / (C - A + 1)))
            case _:
                return float(balance >= C)

    def reactive(self, balance: int, useful: bool, draw: float) -> int:
        """Return how many messages a received one is worth; ``draw`` is uniform in [0, 1).

        >>> account = Account(strategy="generalised")
        >>> [account.reactive(a, True, 0.0) for a in (0, 5, 9, 10, 15, 20)]
        [0, 1, 1, 1, 2, 2]
        """
        match self.strategy:
            case "proactive":
                return 0
            case "simple":
                return int(balance > 0)
            case "generalised":
                return (self.spend - 1 + balance) // (self.spend if useful else 2 * self.spend)
            case "randomised":
                return int(balance / self.spend + draw) if useful else 0
