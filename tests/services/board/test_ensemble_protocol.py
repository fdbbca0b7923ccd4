"""Protocols of ensembles: what tells their boards apart, and what does not."""

from services.board.protocol import EnsembleProtocol

RGB, FLOW = {"frames": 25}, {"frames": 25, "flow": {"stack": 10}}


def test_the_weights_of_a_mean_count_by_their_ratio_and_order_does_not() -> None:
    one = EnsembleProtocol.of("probabilities", [(1.0, RGB), (1.5, FLOW)])
    assert EnsembleProtocol.of("probabilities", [(3.0, FLOW), (2.0, RGB)]) == one
    assert one.line == f"ensemble of 2, probabilities, weights 0.4 : 0.6, protocol {one.digest[:12]}"
    assert len(one.digest) == 64
    assert "ensemble" in one.fields


def test_method_weights_members_and_exponents_tell_boards_apart() -> None:
    given = [
        EnsembleProtocol.of("probabilities", [(1.0, RGB), (1.5, FLOW)]),
        EnsembleProtocol.of("probabilities", [(1.0, FLOW), (1.5, RGB)]),
        EnsembleProtocol.of("probabilities", [(1.0, RGB), (1.0, FLOW)]),
        EnsembleProtocol.of("logits", [(1.0, RGB), (1.5, FLOW)]),
        EnsembleProtocol.of("product", [(1.0, RGB), (1.5, FLOW)]),
        EnsembleProtocol.of("product", [(2.0, RGB), (3.0, FLOW)]),
        EnsembleProtocol.of("probabilities", [(1.0, RGB), (1.5, {"uploaded": True})]),
    ]
    assert len({protocol.digest for protocol in given}) == len({protocol.line for protocol in given}) == len(given)
