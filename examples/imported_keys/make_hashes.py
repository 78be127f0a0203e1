"""Makes hashes.txt: keys as another system would have stored them, by its own libraries.

    pip install bcrypt==5.0.0 argon2-cffi==25.1.0
    python make_hashes.py > hashes.txt

One key to a line: identifier, key, hash. Another system would not have the key; it is here to try the hash.
"""

import hashlib
import secrets
import string

import argon2
import bcrypt

ALPHABET = string.ascii_letters + string.digits


def text(length):
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def salted_sha256(key):
    salt = secrets.token_hex(8)
    return f"sha256${salt}${hashlib.sha256((salt + key).encode()).hexdigest()}"


for make in (
    lambda key: bcrypt.hashpw(key.encode(), bcrypt.gensalt()).decode(),
    argon2.PasswordHasher().hash,
    salted_sha256,
):
    identifier = text(8)
    key = f"{identifier}.{text(32)}"
    print(identifier, key, make(key))
