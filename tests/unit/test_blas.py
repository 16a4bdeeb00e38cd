"""How many threads sums are taken on is the process's, and runs in its threads share it."""

from __future__ import annotations

import threading

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from gossipml.blas import one_thread


def blas_threads():
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_one_thread_until_the_last_run_has_ended():
    np.ones((2, 2)) @ np.ones((2, 2))
    began, ends = threading.Event(), threading.Event()

    def other():
        with one_thread():
            began.set()
            ends.wait(20)

    with threadpool_limits(2, user_api="blas"):
        run = threading.Thread(target=other)
        with one_thread():
            run.start()
            assert began.wait(20)
            assert blas_threads() == {1}
        assert blas_threads() == {1}  # the other goes on
        ends.set()
        run.join()
        assert blas_threads() == {2}


def test_within_each_other():
    with threadpool_limits(2, user_api="blas"):
        with one_thread():
            with one_thread():
                pass
            assert blas_threads() == {1}
        assert blas_threads() == {2}
