"""The choice of method, written a second time from DESIGN.md section 4, to check the first.

Built the other way round: begin with every way that exists, strike out what each rule forbids, take the best of what is
left by a fixed ranking. Reads facts as JSON lines from standard input, writes one JSON line of the answer for each.
"""

import json
import sys

ORDER = ["T0", "T1", "T2", "T3", "P", "E"]
WAYS = [("tls", level) for level in ("T0", "T1", "T2", "T3")] + [
    ("portal", "P"),
    ("smime", "E"),
    ("openpgp", "E"),
]


def at_least(level, floor):
    return ORDER.index(level) >= ORDER.index(floor)


def key_state(row, kind):
    """'usable', 'unusable' or 'none', as far as the tenant's policy lets the key be used."""
    fact = row[kind]
    if kind == "smime" and fact == "cbc":
        return "ruled-out" if row["smime_without_gcm"] == "portal" else "usable"
    if fact in ("usable", "gcm"):
        return "usable"
    return "none" if fact == "none" else "unusable"


def is_failing(row):
    """The tenant or experience says that required TLS fails; a contradiction counts as failing."""
    return "fails" in (row["recorded"], row["learned"])


def is_late_or_contradictory(row):
    """Nothing may rest on what was found out about the domain."""
    if row["dane"] == "bogus":
        return True
    if row["dane"] == "secure":
        return False
    return row["mta_sts"] == "unknown" and row["recorded"] != "works"


def evidence(row):
    """The TLS level that the domain's publications support."""
    if row["dane"] == "secure":
        return "T3"
    if row["dane"] != "bogus" and row["mta_sts"] == "enforce":
        return "T2"
    return "T1"


def class_floor(row):
    """What the data class requires, without a waiver."""
    if row["data_class"] == "sensitive":
        return "T2"
    if row["data_class"] == "none" and row["none_without_tls"]:
        return "T0"
    return "T1"


def lowered(floor, waiver):
    return floor if waiver is None else min(floor, waiver, key=ORDER.index)


def asks_for_required_tls(row):
    return row["method"] == "tls" or (row["level"] is not None and row["level"] != "T0")


def tls_levels(row):
    """Every level of TLS at which this message may go."""
    waiver = row["waiver"]
    floor = lowered(class_floor(row), waiver)
    if asks_for_required_tls(row):
        floor = max(floor, "T1", key=ORDER.index)
    if row["level"] is not None:
        floor = max(floor, row["level"], key=ORDER.index)
    tenant_is_lenient = class_floor(row) == "T0" and not asks_for_required_tls(row)

    if is_failing(row):
        # Only a waiver of TLS itself sends to a domain that fails it.
        return {"T0"} if waiver == "T0" and floor == "T0" else set()
    has_bad_key = "unusable" in (key_state(row, "openpgp"), key_state(row, "smime"))
    owed_more = has_bad_key or key_state(row, "smime") == "ruled-out"
    if (owed_more or is_late_or_contradictory(row)) and waiver is None and not tenant_is_lenient:
        return set()
    reached = evidence(row)
    if row["dane"] != "secure" and is_late_or_contradictory(row):
        reached = "T1"
    if tenant_is_lenient and reached == "T1":
        reached = "T0"
    return {reached} if at_least(reached, floor) else set()


def allowed(row):
    """Every way that no rule forbids."""
    open_levels = tls_levels(row)
    for method, level in WAYS:
        if method in ("openpgp", "smime"):
            if key_state(row, method) != "usable":
                continue
        if method == "tls" and level not in open_levels:
            continue
        if row["level"] is not None and not at_least(level, row["level"]):
            continue
        yield method, level


def answer(row):
    ways = list(allowed(row))
    sealed = [way for way in ways if way[1] == "E"]
    if row["method"] in ("openpgp", "smime"):
        ways = [way for way in sealed if way[0] == row["method"]]
        if not ways:
            return {"blocked": "block"}
    elif sealed:
        ways = sealed
    else:
        wants_tls_only = row["on_no_tls"] != "portal"
        tls_is_out = row["portal_only"] or not any(method == "tls" for method, _ in ways)
        chose_portal = row["method"] == "portal" or (row["prefers_portal"] and not row["portal_only"])
        asks_beyond_tls = row["level"] in ("P", "E")
        # The tenant chose the portal for a certificate that may not read GCM: no lack of TLS, unless TLS fails as well.
        if key_state(row, "smime") == "ruled-out" and key_state(row, "openpgp") != "unusable" and not row["portal_only"]:
            if not is_failing(row) and tls_is_out:
                wants_tls_only = False
        if chose_portal or tls_is_out or row["portal_only"]:
            ways = [way for way in ways if way[0] == "portal"]
        else:
            # TLS is enough; the portal stays the fallback.
            ways = [way for way in ways if way[0] == "tls"]
        if tls_is_out and wants_tls_only and not chose_portal and not asks_beyond_tls:
            return {"blocked": row["on_no_tls"]}
        if not ways:
            return {"blocked": "block"}
    method, level = max(ways, key=WAYS.index)
    result = {"method": method, "level": level}
    if method == "smime":
        result["cipher"] = row["smime"]
    return result


def main():
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line)), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
