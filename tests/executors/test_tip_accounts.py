"""The tip accounts of the presets: addresses carry no checksum, only a second copy shows a slip."""

from hashlib import sha256

import pytest
from solders.pubkey import Pubkey

from app.executors.sender import lacks
from app.executors.sender_options import TipRule
from app.executors.sender_presets import PRESETS
from app.executors.tip_accounts import TIP_ACCOUNTS
from tests.executors.sender_kit import transaction

SECOND_COPY = {
    "helius": """
        4ACfpUFoaSD9bfPdeu6DBt89gB6ENTeHBXCAi87NhDEE D2L6yPZ2FmmmTKPgzaMKdhu6EWZcTpLy1Vhx8uvZe7NZ
        9bnz4RShgq1hAnLnZbP8kbgBg1kEmcJBYQq3gQbmnSta 5VY91ws6B2hMmBFRsXkoAAdsPHBJwRfBht4DXox3xkwn
        2nyhqdwKcJZR2vcqCyrYsaPVdAnFoJjiksCXJ7hfEYgD 2q5pghRs6arqVjRvT5gfgWfWcHWmw1ZuCzphgd5KfWGJ
        wyvPkWjVZz1M8fHQnMMCDTQDbkManefNNhweYk5WkcF 3KCKozbAaF75qEU33jtzozcJ29yJuaLJTy2jFdzUY8bT
        4vieeGHPYPG2MmyPRcYjdiDmmhN3ww7hsFNap8pVN3Ey 4TQLFNWK8AovT1gFvda5jfw2oJeRMKEmw7aH6MGBJ3or
    """,
    "nozomi": """
        TEMPaMeCRFAS9EKF53Jd6KpHxgL47uWLcpFArU1Fanq noz3jAjPiHuBPqiSPkkugaJDkJscPuRhYnSpbi8UvC4
        noz3str9KXfpKknefHji8L1mPgimezaiUyCHYMDv1GE noz6uoYCDijhu1V7cutCpwxNiSovEwLdRHPwmgCGDNo
        noz9EPNcT7WH6Sou3sr3GGjHQYVkN3DNirpbvDkv9YJ nozc5yT15LazbLTFVZzoNZCwjh3yUtW86LoUyqsBu4L
        nozFrhfnNGoyqwVuwPAW4aaGqempx4PU6g6D9CJMv7Z nozievPk7HyK1Rqy1MPJwVQ7qQg2QoJGyP71oeDwbsu
        noznbgwYnBLDHu8wcQVCEw6kDrXkPdKkydGJGNXGvL7 nozNVWs5N8mgzuD3qigrCG2UoKxZttxzZ85pvAQVrbP
        nozpEGbwx4BcGp6pvEdAh1JoC2CQGZdU6HbNP1v2p6P nozrhjhkCr3zXT3BiT4WCodYCUFeQvcdUkM7MqhKqge
        nozrwQtWhEdrA6W8dkbt9gnUaMs52PdAv5byipnadq3 nozUacTVWub3cL4mJmGCYjKZTnE9RbdY5AP46iQgbPJ
        nozWCyTPppJjRuw2fpzDhhWbW355fzosWSzrrMYB1Qk nozWNju6dY353eMkMqURqwQEoM3SFgEKC6psLCSfUne
        nozxNBgWohjR75vdspfxR5H9ceC7XXH99xpxhVGt3Bb
    """,
    "astralane": """
        astrazznxsGUhWShqgNtAdfrzP2G83DzcWVJDxwV9bF astra4uejePWneqNaJKuFFA8oonqCE1sqF6b45kDMZm
        astra9xWY93QyfG6yM8zwsKsRodscjQ2uU2HKNL5prk astraRVUuTHjpwEVvNBeQEgwYx9w9CFyfxjYoobCZhL
        astraEJ2fEj8Xmy6KLG7B3VfbKfsHXhHrNdCQx7iGJK astraubkDw81n4LuutzSQ8uzHCv4BhPVhfvTcYv8SKC
        astraZW5GLFefxNPAatceHhYjfA1ciq9gvfEg2S47xk astrawVNP4xDBKT7rAdxrLYiTSTdqtUr63fSMduivXK
        AstrA1ejL4UeXC2SBP4cpeEmtcFPZVLxx3XGKXyCW6to AsTra79FET4aCKWspPqeSFvjJNyp96SvAnrmyAxqg5b7
        AstrABAu8CBTyuPXpV4eSCJ5fePEPnxN8NqBaPKQ9fHR AsTRADtvb6tTmrsqULQ9Wji9PigDMjhfEMza6zkynEvV
        AsTRAEoyMofR3vUPpf9k68Gsfb6ymTZttEtsAbv8Bk4d AStrAJv2RN2hKCHxwUMtqmSxgdcNZbihCwc1mCSnG83W
        Astran35aiQUF57XZsmkWMtNCtXGLzs8upfiqXxth2bz AStRAnpi6kFrKypragExgeRoJ1QnKH7pbSjLAKQVWUum
        ASTRaoF93eYt73TYvwtsv6fMWHWbGmMUZfVZPo3CRU9C
    """,
    "0slot": """
        Eb2KpSC8uMt9GmzyAEm5Eb1AAAgTjRaXWFjKyFXHZxF3 FCjUJZ1qozm1e8romw216qyfQMaaWKxWsuySnumVCCNe
        ENxTEjSQ1YabmUpXAdCgevnHQ9MHdLv8tzFiuiYJqa13 6rYLG55Q9RpsPGvqdPNJs4z5WTxJVatMB8zV3WJhs5EK
        Cix2bHfqPcKcM233mzxbLk14kSggUUiz2A87fJtGivXr 6fQaVhYZA4w3MBSXjJ81Vf6W1EDYeUPXpgVQ6UQyU1Av
        4HiwLEP2Bzqj3hM2ENxJuzhcPCdsafwiet3oGkMkuQY4 7toBU3inhmrARGngC7z6SjyP85HgGMmCTEwGNRAcYnEK
        8mR3wB1nh4D6J9RUCugxUpc6ya8w38LPxZ3ZjcBhgzws 6SiVU5WEwqfFapRuYCndomztEwDjvS5xgtEof3PLEGm9
        TpdxgNJBWZRL8UXF5mrEsyWxDWx9HQexA9P1eTWQ42p D8f3WkQu6dCF33cZxuAsrKHrGsqGP2yvAHf8mX6RXnwf
        GQPFicsy3P3NXxB5piJohoxACqTvWE9fKpLgdsMduoHE Ey2JEr8hDkgN8qKJGrLf2yFjRhW7rab99HVxwi5rcvJE
        4iUgjMT8q2hNZnLuhpqZ1QtiV8deFPy2ajvvjEpKKgsS 3Rz8uD83QsU8wKvZbgWAPvCNDU6Fy8TSZTMcPm3RB6zt
        DiTmWENJsHQdawVUUKnUXkconcpW4Jv52TnMWhkncF6t HRyRhQ86t3H4aAtgvHVpUJmw64BDrb61gRiKcdKUXs5c
        7y4whZmw388w1ggjToDLSBLv47drw5SUXcLk6jtmwixd J9BMEWFbCBEjtQ1fG5Lo9kouX1HfrKQxeUxetwXrifBw
        8U1JPQh3mVQ4F5jwRdFTBzvNRQaYFQppHQYoH38DJGSQ
    """,
    "bloxroute": """
        HWEoBxYs7ssKuudEjzjmpfJVX7Dvi7wescFsVx2L5yoY 95cfoy472fcQHaw4tPGBTKpn6ZQnfEPfBgDQx6gcRmRg
        3UQUKjhMKaY2S6bjcQD6yHB7utcZt5bfarRCmctpRtUd FogxVNs6Mm2w9rnGL1vkARSwJxvLE8mujTv3LK8RnUhF
    """,
    "nextblock": """
        NextbLoCkVtMGcV47JzewQdvBpLqT9TxQFozQkN98pE NexTbLoCkWykbLuB1NkjXgFWkX9oAtcoagQegygXXA2
        NeXTBLoCKs9F1y5PJS9CKrFNNLU1keHW71rfh7KgA1X NexTBLockJYZ7QD7p2byrUa6df8ndV2WSd8GkbWqfbb
        neXtBLock1LeC67jYd1QdAa32kbVeubsfPNTJC1V5At nEXTBLockYgngeRmRrjDV31mGSekVPqZoMGhQEZtPVG
        NEXTbLoCkB51HpLBLojQfpyVAMorm3zzKg7w9NFdqid nextBLoCkPMgmG8ZgJtABeScP35qLa2AMCNKntAP7Xc
    """,
}
HASHES = {
    "helius": "8266a44a202b812aec0f912d3c91f9acdcf9cad83e0f2f221b645e1b731982f5",
    "nozomi": "611ef2e512f7a48a4b4c7d56a853977921421df320fbc800663c2d3f08784f5a",
    "astralane": "6d58413d03859e85a7d8834bd0c4272cf2874eac49eeb2f1c12f2ca620c0175e",
    "0slot": "32e4cee0e805a3ae138bcd99bdd8cf21c9149a7cac0353ee4023ec806f6b3b77",
    "bloxroute": "400a9192a6c028f54e9096d8b06366bc576399ece9afade1616996b5796c1793",
    "nextblock": "4f4112cc6510de626c780cad17455bc4959faafdcb58d3d2c8baa6b51c1e7a50",
}
EACH = [(name, account) for name, accounts in TIP_ACCOUNTS.items() for account in accounts]


def test_both_copies_say_the_same_character_by_character() -> None:
    """A slip in either of them shows."""
    assert {name: " ".join(accounts).split() for name, accounts in TIP_ACCOUNTS.items()} == {
        name: text.split() for name, text in SECOND_COPY.items()
    }


@pytest.mark.parametrize("name", HASHES)
def test_a_list_has_the_hash_that_was_reviewed(name: str) -> None:
    """Whoever changes a list says so in three places."""
    assert sha256("\n".join(TIP_ACCOUNTS[name]).encode()).hexdigest() == HASHES[name]
    assert set(HASHES) == set(TIP_ACCOUNTS)


def test_no_account_stands_twice() -> None:
    """Within a sender's list, or in the lists of two."""
    accounts = [account for _, account in EACH]
    assert len(accounts) == len(set(accounts)) == 77


@pytest.mark.parametrize(("name", "account"), EACH)
def test_each_account_can_be_tipped_by_itself(name: str, account: str) -> None:
    """It is 32 bytes, and a transaction that pays it and nobody else is what its sender wants."""
    assert len(bytes(Pubkey.from_string(account))) == 32
    tip = TipRule(TIP_ACCOUNTS[name], min_lamports=1_000)
    assert lacks(transaction(tip=(account, 1_000)), tip) is None
    assert lacks(transaction(tip=(account, 999)), tip) == "tip_missing"


def test_every_preset_that_wants_a_tip_takes_its_accounts_from_the_list() -> None:
    """And from nowhere else: Triton alone wants none."""
    wanted = {name: dict(preset.section.get("tip", {})) for name, preset in PRESETS.items()}  # type: ignore[call-overload]
    vendors = {name: name.removesuffix("_swqos") for name in PRESETS}
    for name, tip in wanted.items():
        assert tip.get("accounts") == TIP_ACCOUNTS.get(vendors[name])
