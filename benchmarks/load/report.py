"""Writes docs/performance.md from the JSON file of a run."""

from __future__ import annotations

from typing import Any

from benchmarks.load.figures import DECODE, RAW, Row, beyond, interval, middle, number, paired, rows_of, share, table
from benchmarks.load.targets import targets

DECODE_PNG = "onnxruntime and decoding, PNG"  # in runs until 2026-11-28


def page(results: dict[str, Any]) -> str:
    """The page, in Markdown."""
    about = results["about"]
    models = list(dict.fromkeys(row["model"] for row in results.get("closed", [])))
    lines = ["# Performance", "", *_introduction(about)]
    if models:
        lines += ["", "## Targets", "", *targets(results)]
    for model in models:
        lines += ["", f"## `{model}` at 8 connections", "", *_closed(rows_of(results["closed"], model=model))]
    if models:
        lines += ["", *_reading(about)]
    for model in dict.fromkeys(row["model"] for row in results.get("connections", [])):
        lines += ["", f"## `{model}` by connections", "", *_by_connections(results, model)]
    if results.get("open"):
        lines += ["", "## Open loop", "", *_open(results["open"])]
    for model in dict.fromkeys(row["model"] for row in results.get("shipped", [])):
        lines += [
            "",
            f"## `{model}`, as shipped, at 8 connections",
            "",
            *_closed(rows_of(results["shipped"], model=model)),
        ]
    for row in results.get("overload", []):
        lines += ["", "## Overload", "", *_overload(row)]
    lines += ["", "## What was measured", "", *_contenders(about), "", *_caveats(about)]
    return "\n".join(lines) + "\n"


def _introduction(about: Row) -> list[str]:
    pace = about["pace"]
    names = ", ".join(f"{name} {found}" for name, found in about["versions"].items())
    peers = "; ".join(
        f"{name} {found[name]} (uvicorn {found['uvicorn']})" for name, found in about.get("peers", {}).items()
    )
    sizes = ", ".join(f"{name.upper()} {size:,} bytes" for name, size in about["image_bytes"].items())
    warning = "**A quick run that tests the benchmark: do not quote its figures.**"
    return [
        *([] if pace["for_figures"] else [warning, ""]),
        "This page is written from `docs/results/load.json`, which",
        "",
        f"    {about['command']}",
        "",
        f"measured in one run of {about['minutes']} minutes on one machine: commit `{about['commit']}`, "
        f"{about['date']}, {about['cpu']}, {about['cores']} cores{_instructions(about)}, "
        f"{about['memory_gb']} GB, {about['system']}, {about['wrk']}. Server and load generator share these cores. "
        f"Versions: {names}. Other servers: {peers}; with the same onnxruntime, numpy and pillow. All requests "
        f"send one synthetic patch: {sizes} (JPEG at quality 75). If no format is named, it is the JPEG."
        + (f" Artifacts: {', '.join(files)}." if (files := about.get("artifacts", {}).values()) else "")
        + " Where no version is named, `accurate` is 0.3.1, a network as `balanced` is now, and `fast` is 0.3.1, of "
        "the topology `fast`, unlike the artifact that is shipped now.",
        "",
        f"A measurement takes {pace['seconds']} s after {pace['warm_up']} s of warm-up. The contenders are measured "
        f"in turn in {pace['rounds']} rounds, every other round in reverse order, so that a drift of the machine's "
        "speed affects all; ratios and differences are computed within each round. Figures are medians over the "
        f"rounds; [in brackets] the minimum and maximum, which for {pace['rounds']} rounds is "
        f"{_confidence(pace['rounds'])} interval of the median. Servers that are not measured are paused. Before the "
        "measurements, every server answered the patch with the artifact's logits, bit for bit.",
    ]


def _confidence(rounds: int) -> str:
    """The confidence that the median lies between the least and the greatest of independent values."""
    return f"a {100 * (1 - 2 * 0.5**rounds):.0f} %"


def _closed(rows: list[Row]) -> list[str]:
    lines = []
    for name in dict.fromkeys(row["contender"] for row in rows):
        mine = rows_of(rows, contender=name)
        base = DECODE_PNG if name.endswith("PNG") else DECODE
        lines.append(
            [
                name,
                number(middle(mine, "patches_s"), ".0f"),
                "" if name == base else interval(paired(rows, name, base, share("patches_s"))),
                number(middle(mine, "p50_ms")),
                number(middle(mine, "p99_ms")),
                number(middle(mine, "cpu_ms")),
                "" if name == RAW else interval(paired(rows, name, RAW, beyond("cpu_ms"))),
                number(middle(mine, "load_cpu_ms"), ".3f"),
                number(middle(mine, "pss_mb"), ".0f"),
                number(middle(mine, "peak_rss_mb"), ".0f"),
                str(sum(row["errors"] for row in mine)),
            ]
        )
    header = ["", "patches/s", "of raw + decode", "p50, ms", "p99, ms", "CPU, ms", "CPU beyond raw, ms"]
    return table([*header, "wrk's CPU, ms", "PSS, MB", "peak RSS, MB", "errors"], lines)


def _instructions(about: Row) -> str:
    if about.get("avx512_hidden"):
        return " (AVX-512, and with it VNNI, hidden from the programs by CPUID faulting)"
    return " with VNNI" if about["vnni"] else ""


def _reading(about: Row) -> list[str]:
    return [
        "Latencies are per request; CPU time (user and system, of all processes of a server) is per patch. *CPU beyond "
        "raw*: minus the CPU time of onnxruntime alone in the same round. *PSS* is the memory of all processes of a "
        "server after the measurement, with shared pages counted once; *peak RSS* is the sum of each process's largest "
        f"since its start. onnxruntime alone has {about['cores']} threads instead of connections.",
    ]


def _by_connections(results: dict[str, Any], model: str) -> list[str]:
    rows = rows_of(results["connections"], model=model)
    names = list(dict.fromkeys(row["contender"] for row in rows))
    rows += [row for row in rows_of(results.get("closed", []), model=model) if row["contender"] in names]
    counts = sorted({row["connections"] for row in rows})
    lines = []
    for name in names:
        cells = []
        for count in counts:
            mine = rows_of(rows, contender=name, connections=count)
            figures = [number(middle(mine, key), form) for key, form in _SHORT]
            cells.append(" / ".join(figures) if mine else "")
        lines.append([name, *cells])
    return [
        f"Patches/s / p50 / p99 in ms, `{model}`, closed loop.",
        "",
        *table(["", *(f"{count} connection{'s' if count > 1 else ''}" for count in counts)], lines),
    ]


_SHORT = (("patches_s", ".0f"), ("p50_ms", ".1f"), ("p99_ms", ".1f"))


def _open(rows: list[Row]) -> list[str]:
    lines = [
        [
            row["contender"] if row["model"] == "accurate" else f"{row['contender']} (`{row['model']}`)",
            f"{row['share']:.0%}",
            number(row["rate"], ".0f"),
            number(row["patches_s"], ".0f"),
            number(row["p50_ms"], ".1f"),
            number(row["p99_ms"], ".1f"),
            number(row["cpu_ms"]),
            f"{row['late']:.1%}",
            str(row["errors"]),
        ]
        for row in rows
    ]
    return [
        "Requests are due at a constant rate, independent of previous answers: a share of the same contender's "
        "throughput at 8 connections in this run. *Late*: requests without a free connection within 5 ms of their "
        "time; then the server did not keep up, and latencies are too low. One measurement each.",
        "",
        *table(["", "of capacity", "due/s", "answered/s", "p50, ms", "p99, ms", "CPU, ms", "late", "errors"], lines),
    ]


def _overload(row: Row) -> list[str]:
    statuses = ", ".join(f"{count:,} × {status}" for status, count in sorted(row["statuses"].items()))
    memory = row["memory_mb"]
    quarter = max(1, len(memory) // 4)
    parts = (memory[:quarter], memory[-quarter:])
    lines = []
    for what, key in (("answered (200)", "answered"), ("refused (503)", "refused"), ("`GET /livez`", "livez")):
        seen = row[key]
        figures = (number(seen[name], ".1f") for name in ("p50_ms", "p99_ms", "max_ms"))
        lines.append([what, str(seen["n"]), *figures])
    return [
        f"`{row['model']}`, {row['contender']}: three times its throughput of {number(row['capacity'], '.0f')} "
        f"patches/s at 8 connections, that is {number(row['rate'], '.0f')} requests/s, were due for "
        f"{row['seconds']:.0f} s over {row['connections']} connections; {number(row['offered'], '.0f')}/s were sent, "
        f"{row['late']:.0%} late. Answers: {statuses}; {row['broken']} without an answer. Goodput "
        f"{number(row['goodput'], '.0f')}/s, {row['goodput_of_capacity']:.2f} of capacity. The server used "
        f"{row['server_cores']:.2f} cores, the load generator {row['load_cores']:.2f}. Memory (PSS): {memory[0]:.0f} "
        f"MB before, at most {max(memory):.0f} during the load; on average {sum(parts[0]) / len(parts[0]):.0f} in the "
        f"first quarter of the time and {sum(parts[1]) / len(parts[1]):.0f} in the last.",
        "",
        "Latencies in ms, measured by a few additional probe connections:",
        "",
        *table(["", "n", "p50", "p99", "slowest"], lines),
    ]


def _contenders(about: Row) -> list[str]:
    return table(["", "what it is"], ([name, what] for name, what in about["contenders"].items()))


def _caveats(about: Row) -> list[str]:
    return [
        "- Rosette does more than the other servers: it checks the key and the patch's quality, makes a report, and "
        "commits a row to SQLite (`synchronous=FULL`) before an answer leaves. The others decode, run the artifact "
        "and return two logits.",
        f"- Rosette has its default settings; its database is on {about['file_system']}, and the cost of a commit "
        "depends on that disk.",
        "- The other servers follow their documentation for an image on a CPU: one worker per core, each session with "
        "one thread; batching is off, which is their default. None of them was tuned further.",
        "- Load comes from wrk over the loopback interface, on the same cores. Latencies start when a request is "
        "written; the correction of wrk before 4.2 for coordinated omission is removed.",
        "- Rosette does not wait for a batch to fill. A variant in which an idle process waited at most 0.5 ms for the "
        "callers of the last commit to ask again was left out: over 12 alternating rounds with `fast` and 8 "
        "connections, on a loaded machine on 2026-11-29, it took 1.04 times the CPU time per request and answered "
        "0.95 times as many, within the spread of the rounds. (The event loop's timers have whole milliseconds, so it "
        "waited by further rounds of the loop.)",
        "- Repeating one patch uses caches better than different patches would.",
        f"- Load average of the machine before the run: {about['load_before']}.",
    ]
