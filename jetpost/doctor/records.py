"""The DNS records that `jetpost doctor` proposes, as lines of a zone file. Pure."""

from ipaddress import ip_address

from jetpost.sign.record import strings_of


def txt_line(name: str, text: str) -> str:
    """A TXT record, split into strings of 255 bytes (RFC 1035, 3.3.14)."""
    strings = [it.replace("\\", "\\\\").replace('"', '\\"') for it in strings_of(text)]
    quoted = " ".join(f'"{it}"' for it in strings)
    return f"{name}. IN TXT {quoted if len(strings) == 1 else f'( {quoted} )'}"


def spf_line(domain: str, existing: str, addresses: tuple[str, ...]) -> str:
    """The SPF record of `domain` that also allows `addresses`; `existing` is the present one, or empty."""
    allowed = " ".join(f"ip{ip_address(address).version}:{address}" for address in addresses)
    terms = existing.split() or ["v=spf1", "-all"]
    return txt_line(domain, " ".join([terms[0], *([allowed] if allowed else []), *terms[1:]]))


def dmarc_line(domain: str) -> str:
    """The least DMARC record that providers take."""
    return txt_line(f"_dmarc.{domain}", "v=DMARC1; p=none")


def report_line(domain: str, receiver: str) -> str:
    """The record with which `receiver` agrees to get the reports about `domain` (RFC 9990, 4)."""
    return txt_line(f"{domain}._report._dmarc.{receiver}", "v=DMARC1")


def ptr_line(address: str, name: str) -> str:
    """The PTR record of an address."""
    return f"{ip_address(address).reverse_pointer}. IN PTR {name}."


def address_line(name: str, address: str) -> str:
    """The address record of a host."""
    return f"{name}. IN {'A' if ip_address(address).version == 4 else 'AAAA'} {address}"
