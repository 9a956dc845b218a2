"""Venues: one file for each DEX program, and the list of those that are known."""

from collections.abc import Mapping

from app.transactions.venues.base import Venue
from app.transactions.venues.orca_whirlpool import OrcaWhirlpool
from app.transactions.venues.raydium_amm_v4 import RaydiumAmmV4
from app.transactions.venues.raydium_cpmm import RaydiumCpmm


def known_venues() -> Mapping[str, Venue]:
    """Give every venue by the name that a market's pools use."""
    venues: tuple[Venue, ...] = (OrcaWhirlpool(), RaydiumAmmV4(), RaydiumCpmm())
    return {venue.name: venue for venue in venues}
