"""Secrets of every shape, put together when the tests run, so that no scanner finds one in this file.

A shape is a text with blanks; a blank is the part that must not survive. What a scanner would take for a token is
written in pieces (``"gh" "p_"`` is one string to Python and none to it), and what fills the blanks is drawn from a
generator with a fixed seed.
"""

from __future__ import annotations

import base64
import json
import random
import re
import string
import textwrap
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import quote

from tests.redaction.vendors import COMMANDS, VENDORS

__all__ = ["CONTAINERS", "Sample", "leaked", "leaks", "samples", "shapes", "variants"]

ALNUM = string.ascii_letters + string.digits
LOWER = string.ascii_lowercase + string.digits
UPPER = string.ascii_uppercase + string.digits
HEX = "0123456789abcdef"
WORD = ALNUM + "_-"
BASE64 = ALNUM + "+/"

# One line a shape: what it is, the text, and what the blanks are filled with, as "alphabet length".
# {S} is a secret; {H} is something harmless, a number for one.
TOKENS = (
    ("OpenAI", "sk-{S}", "alnum48"),
    ("OpenAI project", "sk-proj-{S}", "word120"),
    ("OpenAI service account", "sk-svcacct-{S}", "word120"),
    ("OpenAI admin", "sk-admin-{S}", "word90"),
    ("Anthropic", "sk-ant-api03-{S}", "word95"),
    ("Anthropic admin", "sk-ant-admin01-{S}", "word95"),
    ("OpenRouter", "sk-or-v1-{S}", "hex64"),
    ("DeepSeek", "sk-{S}", "hex32"),
    ("Groq", "gsk_{S}", "alnum52"),
    ("Replicate", "r8_{S}", "alnum37"),
    ("Hugging Face", "hf_{S}", "alnum34"),
    ("Hugging Face organisation", "api_org_{S}", "alnum34"),
    ("Perplexity", "pplx-{S}", "alnum48"),
    ("xAI", "xai-{S}", "alnum80"),
    ("Fireworks", "fw_{S}", "alnum24"),
    ("Tavily", "tvly-{S}", "alnum32"),
    ("LangSmith", "lsv2_pt_{S}", "hex32"),
    ("Langfuse", "sk-lf-{S}", "uuid"),
    ("Pinecone", "pcsk_{S}", "alnum60"),
    ("NVIDIA", "nvapi-{S}", "word60"),
    ("Jina", "jina_{S}", "alnum40"),
    ("Cerebras", "csk-{S}", "alnum40"),
    ("GitHub", "ghp_{S}", "alnum36"),
    ("GitHub OAuth", "gho_{S}", "alnum36"),
    ("GitHub user to server", "ghu_{S}", "alnum36"),
    ("GitHub server to server", "ghs_{S}", "alnum36"),
    ("GitHub refresh", "ghr_{S}", "alnum76"),
    ("GitHub fine-grained", "github_pat_{S}", "alnum82"),
    ("GitLab", "glpat-{S}", "word20"),
    ("GitLab deploy", "gldt-{S}", "word20"),
    ("GitLab runner", "glrt-{S}", "word20"),
    ("GitLab trigger", "glptt-{S}", "hex40"),
    ("GitLab registration", "GR1348941{S}", "word20"),
    ("npm", "npm_{S}", "alnum36"),
    ("PyPI", "pypi-{S}", "word160"),
    ("RubyGems", "rubygems_{S}", "hex48"),
    ("Docker", "dckr_pat_{S}", "word27"),
    ("Clojars", "CLOJARS_{S}", "hex60"),
    ("Buildkite", "bkua_{S}", "hex40"),
    ("CircleCI", "CCIPAT_{S}", "alnum60"),
    ("Sourcegraph", "sgp_{S}", "hex40"),
    ("Atlassian", "ATATT3x{S}", "word180"),
    ("Bitbucket", "ATBB{S}", "alnum32"),
    ("Linear", "lin_api_{S}", "alnum40"),
    ("Notion", "ntn_{S}", "alnum46"),
    ("Notion, old", "secret_{S}", "alnum43"),
    ("Figma", "figd_{S}", "word40"),
    ("Postman", "PMAK-{S}", "hex24-hex34"),
    ("PostHog", "phx_{S}", "alnum43"),
    ("Contentful", "CFPAT-{S}", "word43"),
    ("Pulumi", "pul-{S}", "hex40"),
    ("Heroku", "HRKU-{S}", "uuid"),
    ("AWS id, long-lived", "AKIA{S}", "upper16"),
    ("AWS id, of a session", "ASIA{S}", "upper16"),
    ("AWS Bedrock", "ABSK{S}", "base64x120"),
    ("Alibaba", "LTAI{S}", "alnum20"),
    ("Google", "AIza{S}", "word35"),
    ("Google OAuth secret", "GOCSPX-{S}", "word28"),
    ("Google OAuth access", "ya29.{S}", "word120"),
    ("DigitalOcean", "dop_v1_{S}", "hex64"),
    ("DigitalOcean OAuth", "doo_v1_{S}", "hex64"),
    ("Databricks", "dapi{S}", "hex32"),
    ("Vault", "hvs.{S}", "word90"),
    ("Vault batch", "hvb.{S}", "word130"),
    ("Doppler", "dp.pt.{S}", "alnum43"),
    ("Doppler service", "dp.st.{S}", "alnum43"),
    ("Terraform Cloud", "{H}.atlasv1.{S}", "word60"),
    ("Tailscale", "tskey-auth-{S}", "alnum40"),
    ("Fly", "fo1_{S}", "word43"),
    ("Render", "rnd_{S}", "alnum32"),
    ("PlanetScale", "pscale_pw_{S}", "word43"),
    ("Neon", "napi_{S}", "lower60"),
    ("Supabase", "sbp_{S}", "hex40"),
    ("Supabase secret", "sb_secret_{S}", "word31"),
    ("Cloudflare origin", "v1.0-{S}", "hex150"),
    ("Stripe", "sk_live_{S}", "alnum24"),
    ("Stripe test", "sk_test_{S}", "alnum99"),
    ("Stripe restricted", "rk_live_{S}", "alnum24"),
    ("Stripe webhook", "whsec_{S}", "alnum32"),
    ("Shopify", "shpat_{S}", "hex32"),
    ("Shopify custom app", "shpca_{S}", "hex32"),
    ("Shopify shared secret", "shpss_{S}", "hex32"),
    ("Square", "sq0atp-{S}", "word22"),
    ("Square secret", "sq0csp-{S}", "word43"),
    ("Square access", "EAAA{S}", "word60"),
    ("EasyPost", "EZAK{S}", "alnum54"),
    ("Plaid", "access-production-{S}", "uuid"),
    ("Slack bot", "xoxb-{S}", "num12-num12-alnum24"),
    ("Slack user", "xoxp-{S}", "num12-num12-num12-hex32"),
    ("Slack app", "xapp-1-{S}", "upper11-num13-hex64"),
    ("Slack refresh", "xoxe-1-{S}", "alnum146"),
    ("Slack configuration", "xoxe.xoxp-1-{S}", "alnum160"),
    ("Slack webhook", "https://hooks.slack.com/services/{S}", "slackpath"),
    ("Discord webhook", "https://discord.com/api/webhooks/{H}/{S}", "word68"),
    ("Zapier webhook", "https://hooks.zapier.com/hooks/catch/{S}", "num7/lower7"),
    ("Office webhook", "https://acme.webhook.office.com/webhookb2/{S}", "uuid@uuid"),
    ("IFTTT webhook", "https://maker.ifttt.com/trigger/done/with/key/{S}", "word43"),
    ("Discord bot", "MT{S}", "alnum22.alnum6.word38"),
    ("Telegram bot", "{H}:AA{S}", "word33"),
    ("SendGrid", "SG.{S}", "word22.word43"),
    ("Mailgun", "key-{S}", "hex32"),
    ("Mailchimp", "{S}-us14", "hex32"),
    ("Brevo", "xkeysib-{S}", "hex64-alnum16"),
    ("Twilio", "SK{S}", "hex32"),
    ("Grafana", "glsa_{S}", "alnum32_hex8"),
    ("Grafana Cloud", "glc_{S}", "word100"),
    ("Sentry", "sntrys_{S}", "base64x140"),
    ("Sentry user", "sntryu_{S}", "hex64"),
    ("New Relic", "NRAK-{S}", "upper27"),
    ("Dynatrace", "dt0c01.{S}", "upper24.upper64"),
    ("1Password", "ops_eyJ{S}", "word250"),
    ("age", "AGE-SECRET-KEY-1{S}", "upper58"),
    ("Fernet", "gAAAAA{S}", "word120"),
    ("Bitcoin", "xprv{S}", "alnum107"),
    ("Entra ID", "abc8Q~{S}", "word34"),
    ("JWT", "{S}", "jwt"),
)

BY_NAME = (
    # (what it is, text, blanks): the name gives it away, the value has no form.
    ("environment", "DB_PASSWORD={S}", "pass16"),
    ("environment, exported", "export API_SECRET='{S}'", "pass16"),
    ("AWS secret", "AWS_SECRET_ACCESS_KEY={S}", "base64x40"),
    ("AWS credentials file", "aws_secret_access_key = {S}", "base64x40"),
    ("AWS session", "aws_session_token: {S}", "base64x200"),
    ("AWS pair", "(AKIA{H2}, {S})", "aws40"),
    ("Datadog", "DD_API_KEY={S}", "hex32"),
    ("Datadog application", "DD-APPLICATION-KEY: {S}", "hex40"),
    ("Cloudflare", "CLOUDFLARE_API_TOKEN={S}", "word40"),
    ("Heroku key", "HEROKU_API_KEY={S}", "uuid"),
    ("Cohere", "CO_API_KEY={S}", "alnum40"),
    ("Mistral", "MISTRAL_API_KEY={S}", "alnum32"),
    ("Azure OpenAI", "AZURE_OPENAI_API_KEY={S}", "hex32"),
    ("Azure header", "api-key: {S}", "hex32"),
    ("Azure subscription", "Ocp-Apim-Subscription-Key: {S}", "hex32"),
    (
        "Azure storage",
        "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey={S};EndpointSuffix=core.windows.net",
        "base64x86==",
    ),
    (
        "Azure bus",
        "Endpoint=sb://acme.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey={S}",
        "base64x43=",
    ),
    (
        "Azure SAS",
        "https://acme.blob.core.windows.net/c/b?sv=2022-11-02&se=2030-01-01&sr=b&sp=r&sig={S}",
        "base64urlx46",
    ),
    ("SQL Server", "Server=tcp:db,1433;User ID=sa;Password={S};Encrypt=True;", "pass14"),
    ("ODBC", "DRIVER={{x}};SERVER=db;UID=sa;PWD={S};", "pass14"),
    ("libpq", "host=db port=5432 user=app password={S} dbname=app", "pass14"),
    ("JDBC", "jdbc:mysql://db:3306/app?user=root&password={S}&useSSL=true", "pass14"),
    ("PGPASSWORD", "PGPASSWORD={S} psql -h db", "pass14"),
    ("Twilio secret", "TWILIO_AUTH_TOKEN={S}", "hex32"),
    ("Okta", "Authorization: SSWS {S}", "word42"),
    ("Opsgenie", "Authorization: GenieKey {S}", "uuid"),
    ("PagerDuty", "Authorization: Token token={S}", "word20"),
    ("Confluent", "sasl.password={S}", "base64x64"),
    ("Kafka", 'sasl.jaas.config=PlainLoginModule required username="app" password="{S}";', "pass14"),
    ("Spring", "spring.datasource.password={S}", "pass14"),
    ("Django", "SECRET_KEY = '{S}'", "pass50"),
    ("Flask", 'app.config["SECRET_KEY"] = "{S}"', "pass50"),
    ("Rails", "secret_key_base: {S}", "hex128"),
    ("Laravel", "APP_KEY=base64:{S}", "base64x43="),
    ("JWT secret", "JWT_SECRET={S}", "pass32"),
    ("OAuth client", "client_id=app&client_secret={S}&grant_type=client_credentials", "word32"),
    ("OAuth refresh", '{{"access_token": "{S}", "token_type": "bearer", "expires_in": 3600}}', "word60"),
    ("OAuth form", "grant_type=refresh_token&refresh_token={S}", "word60"),
    ("camel case", '{{"clientSecret": "{S}"}}', "word24"),
    ("kebab case", "client-secret: {S}", "word24"),
    ("Pascal case", '"AccessKeySecret": "{S}"', "alnum30"),
    ("written together", "apikey={S}", "alnum24"),
    ("a phrase", "passphrase: {S}", "pass20"),
    ("dotted", "db.prod.password = {S}", "pass14"),
    ("double equals", "password=={S}", "alnum12"),
    ("arrow", "'password' => '{S}'", "pass14"),
    ("walrus", 'password := "{S}"', "pass14"),
    ("annotated", 'def connect(password: str = "{S}")', "pass14"),
    ("keyword argument", "connect(host='db', password='{S}', port=5432)", "pass14"),
    ("repr", "Config(host='db', api_key='{S}')", "alnum24"),
    ("repr without quotes", "<Client user=bob password={S}>", "alnum16"),
    ("dict", "{{'user': 'bob', 'password': '{S}', 'port': 1}}", "pass14"),
    ("dict of bytes", "{{b'authorization': b'Bearer {S}'}}", "word40"),
    ("dict access", "os.environ['DB_PASSWORD'] = '{S}'", "pass14"),
    ("JSON", '{{"password":"{S}","user":"bob"}}', "pass14"),
    ("JSON, number", '{{"pin": {S}}}', "num6"),
    ("JSON, list", '{{"passwords": ["{S}", "other"]}}', "alnum14"),
    ("JSON, nested", '{{"credentials": {{"user": "bob", "pass": "{S}"}}}}', "alnum14"),
    ("JSON, secrets by any name", '{{"secrets": {{"db": "{S}"}}}}', "alnum14"),
    ("JSON in JSON", '{{"body": "{{\\"password\\": \\"{S}\\"}}"}}', "alnum14"),
    ("JSON in JSON in JSON", '"{{\\"b\\": \\"{{\\\\\\"api_key\\\\\\": \\\\\\"{S}\\\\\\"}}\\"}}"', "alnum14"),
    ("JSON with an escaped quote", '{{"password": "a\\"{S}"}}', "alnum14"),
    ("JSON, unicode quotes", "\\u0022password\\u0022:\\u0022{S}\\u0022", "alnum14"),
    ("YAML", "db:\n  user: bob\n  password: {S}\n  port: 1\n", "pass14"),
    ("YAML, quoted", "password: '{S}'", "pass14"),
    ("YAML, block", "db:\n  password: |\n    {S}\n  port: 1\n", "alnum14"),
    ("TOML", '[db]\npassword = "{S}"\n', "pass14"),
    ("INI", "[db]\npassword={S}\nport=1\n", "pass14"),
    (".npmrc", "//npm.acme.example/:_authToken={S}", "uuid"),
    (".npmrc, old", "_password={S}", "base64x24"),
    (".pypirc", "[pypi]\nusername = __token__\npassword = {S}\n", "word40"),
    (".netrc", "machine api.acme.com login bob password {S}", "alnum16"),
    (".pgpass-like", "postgres://app:{S}@db:5432/app", "alnum16"),
    ("docker config", '{{"auths": {{"ghcr.io": {{"auth": "{S}"}}}}}}', "base64x40"),
    ("kube config", "    token: {S}\n", "word60"),
    ("kube secret", "kind: Secret\ndata:\n  password: {S}\n", "base64x24"),
    ("kube env", "- name: DB_PASSWORD\n  value: '{S}'\n", "alnum16"),
    ("env list", '[{{"name": "API_KEY", "value": "{S}"}}]', "alnum16"),
    ("XML", "<db><user>bob</user><password>{S}</password></db>", "alnum16"),
    ("XML with a namespace", '<wsse:Password Type="text">{S}</wsse:Password>', "alnum16"),
    ("XML attribute", '<db user="bob" password="{S}"/>', "alnum16"),
    ("HTML field", '<input type="hidden" name="csrf_token" value="{S}">', "word40"),
    ("HTML entities", "password=&quot;{S}&quot;", "alnum16"),
    ("multipart", 'Content-Disposition: form-data; name="password"\r\n\r\n{S}\r\n--x--', "alnum16"),
    ("form", "user=bob&password={S}&submit=1", "alnum16"),
    ("form, percent-encoded", "q=user%3Dbob%26password%3D{S}%26x%3D1", "alnum16"),
    ("command", "mytool --password {S} --verbose", "alnum16"),
    ("command, joined", "mytool --api-key={S} -v", "alnum16"),
    ("command, quoted", "mytool --token '{S}'", "alnum24"),
    ("argv", "['mytool', '--password', '{S}', '-v']", "alnum16"),
    ("curl -u", "curl -u bob:{S} https://api.acme.com", "alnum16"),
    ("curl --user", "curl --user bob:{S} https://api.acme.com", "alnum16"),
    ("curl -H", "curl -H 'X-Api-Key: {S}' https://api.acme.com", "alnum24"),
    ("curl -H Bearer", 'curl -H "Authorization: Bearer {S}" https://api.acme.com', "word40"),
    ("curl --data", 'curl -d \'{{"password":"{S}"}}\' https://api.acme.com', "alnum16"),
    ("mysql", "mysql -h db -u root -p{S} app", "alnum16"),
    ("sshpass", "sshpass -p {S} ssh root@db", "alnum16"),
    ("docker login", "docker login -u bob -p {S} ghcr.io", "alnum16"),
    ("redis-cli", "redis-cli -h cache -a {S} ping", "alnum16"),
    ("SQL user", "CREATE USER app IDENTIFIED BY '{S}'", "alnum16"),
    ("SQL role", "ALTER ROLE app WITH PASSWORD '{S}'", "alnum16"),
    ("Bearer", "Authorization: Bearer {S}", "word40"),
    ("Bearer, small letters", "authorization: bearer {S}", "word40"),
    ("Bearer alone", "sent with Bearer {S} to the server", "word40"),
    ("Basic", "Authorization: Basic {S}", "basic"),
    ("Basic alone", "used Basic {S} as credentials", "basic"),
    (
        "Digest",
        'Authorization: Digest username="bob", realm="x", nonce="n", uri="/", response="{S}"',
        "hex32",
    ),
    ("Token", "Authorization: Token {S}", "hex40"),
    ("ApiKey", "Authorization: ApiKey {S}", "word40"),
    ("raw", "Authorization: {S}", "alnum40"),
    ("Negotiate", "WWW-Authenticate: Negotiate {S}", "base64x80"),
    (
        "AWS signature",
        "Authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, Signature={S}",
        "hex64",
    ),
    ("proxy", "Proxy-Authorization: Basic {S}", "basic"),
    ("header, dict", "{{'Authorization': 'Bearer {S}', 'Accept': '*/*'}}", "word40"),
    ("header, pairs", "[('accept', '*/*'), ('authorization', 'Bearer {S}')]", "word40"),
    ("header, pairs of bytes", "[(b'x-api-key', b'{S}')]", "alnum24"),
    ("header, httpx", "Headers({{'host': 'x', 'authorization': 'Token {S}'}})", "hex40"),
    ("header, raw request", "'GET / HTTP/1.1\\r\\nAuthorization: Bearer {S}\\r\\nHost: x\\r\\n'", "word40"),
    ("header, GitLab", "PRIVATE-TOKEN: {S}", "alnum20"),
    ("header, Vault", "X-Vault-Token: {S}", "alnum26"),
    ("header, Auth", "X-Auth-Token: {S}", "hex32"),
    ("header, CSRF", "X-CSRF-Token: {S}", "alnum40"),
    ("cookie", "Cookie: theme=dark; sessionid={S}; lang=en", "alnum32"),
    ("cookie, set", "Set-Cookie: sid={S}; Path=/; HttpOnly", "alnum32"),
    ("cookie, dict", "{{'cookie': 'sessionid={S}'}}", "alnum32"),
    ("cookies, dict", "cookies={{'sessionid': '{S}'}}", "alnum32"),
    ("session", "session_id={S}", "alnum32"),
    ("PHP session", "PHPSESSID={S}", "lower26"),
    ("Java session", "JSESSIONID={S}", "hex32"),
    ("query, api_key", "GET /v1/x?api_key={S}&page=2 HTTP/1.1", "alnum24"),
    ("query, token", "https://api.acme.com/v1/x?token={S}&page=2", "alnum24"),
    ("query, key", "https://api.acme.com/v1/x?key={S}&page=2", "alnum24"),
    ("query, access_token", "https://api.acme.com/v1/x#access_token={S}&state=1", "word60"),
    ("query, AWS", "https://b.s3.amazonaws.com/k?X-Amz-Date=20260101T000000Z&X-Amz-Signature={S}", "hex64"),
    (
        "query, AWS token",
        "https://b.s3.amazonaws.com/k?X-Amz-Security-Token={S}&X-Amz-Expires=60",
        "base64urlx200",
    ),
    (
        "query, Google",
        "https://storage.googleapis.com/b/k?GoogleAccessId=x&Expires=1&Signature={S}",
        "base64urlx120",
    ),
    ("query, password", "https://acme.com/login?user=bob&passwd={S}", "alnum14"),
    ("message of an API", "Incorrect API key provided: {S}. You can find yours in the settings.", "alnum24"),
    ("prose", "The password is {S}, do not tell anybody.", "alnum14"),
    ("two words", "Access token: {S}", "alnum24"),
    ("two words, secret", "Client secret: {S}", "alnum24"),
    ("log line", "2026-01-01 12:00:00,000 INFO login user=bob password={S} ip=10.0.0.1", "alnum14"),
    ("logfmt", 'level=info msg="hi" api_key="{S}" dur=12ms', "alnum24"),
    ("PIN", "otp: {S}", "num6"),
    ("mnemonic", '{{"mnemonic": "{S}"}}', "mnemonic"),
    ("WireGuard", "[Interface]\nPrivateKey = {S}\nAddress = 10.0.0.2/32\n", "base64x43="),
    ("WireGuard, shared", "PresharedKey = {S}", "base64x43="),
    ("webhook secret", '"webhook_secret": "{S}"', "hex40"),
    ("signing key", "signing_key={S}", "hex64"),
    ("encryption key", "ENCRYPTION_KEY={S}", "base64x43="),
    ("connection of Redis", "redis://:{S}@cache:6379/0", "alnum20"),
    ("connection of Redis, with a user", "rediss://default:{S}@cache:6379", "alnum20"),
    (
        "connection of MongoDB",
        "mongodb+srv://app:{S}@cluster0.abcde.mongodb.net/app?retryWrites=true",
        "alnum20",
    ),
    ("connection of RabbitMQ", "amqp://guest:{S}@mq:5672//", "alnum20"),
    ("connection of PostgreSQL", "postgresql+asyncpg://app:{S}@db/app", "alnum20"),
    ("connection of ClickHouse", "clickhouse://app:{S}@ch:9000/app", "alnum20"),
    ("connection of Snowflake", "snowflake://app:{S}@acme/db", "alnum20"),
    ("connection of FTP", "ftp://bob:{S}@files.acme.com/x", "alnum20"),
    ("connection of SMTP", "smtps://bob%40acme.com:{S}@mail:465", "alnum20"),
    ("connection of LDAP", "ldap://cn=admin:{S}@ldap:389", "alnum20"),
    ("proxy with a password", "http://proxy-user:{S}@10.0.0.1:3128", "alnum20"),
    ("percent-encoded password", "postgres://app:p%40{S}%2Fx@db/app", "alnum20"),
    ("password with a slash", "postgres://app:a/{S}@db/app", "alnum20"),
    ("password with an at", "postgres://app:a@{S}@db/app", "alnum20"),
    ("encoded URL", "next=https%3A%2F%2Fbob%3A{S}%40acme.com%2Fx", "alnum20"),
    ("escaped URL", "postgres:\\/\\/app:{S}@db\\/app", "alnum20"),
    ("token as a user", "https://{S}@github.com/acme/x.git", "alnum40"),
    ("token as a user, no password", "https://{S}:x-oauth-basic@github.com/acme/x.git", "hex40"),
    ("git with a token", "https://oauth2:{S}@gitlab.com/acme/x.git", "alnum20"),
    ("pip index", "--index-url https://__token__:{S}@packages.acme.example/simple", "alnum20"),
    ("Sentry DSN, old", "https://{H32}:{S}@o1.ingest.sentry.io/1", "hex32"),
    ("Sentry DSN", "https://{S}@o1.ingest.sentry.io/1", "hex32"),
    ("Go's MySQL", "app:{S}@tcp(db:3306)/app?parseTime=true", "alnum20"),
    ("Oracle", "jdbc:oracle:thin:scott/{S}@db:1521:orcl", "alnum20"),
    ("no scheme", "via bob:{S}@10.0.0.1:3128", "alnum20"),
    ("PEM", "-----BEGIN PRIVATE KEY-----\n{S}\n-----END PRIVATE KEY-----", "pem1600"),
    ("PEM, RSA", "-----BEGIN RSA PRIVATE KEY-----\n{S}\n-----END RSA PRIVATE KEY-----\n", "pem1600"),
    ("PEM, EC", "-----BEGIN EC PRIVATE KEY-----\n{S}\n-----END EC PRIVATE KEY-----", "pem160"),
    ("PEM, OpenSSH", "-----BEGIN OPENSSH PRIVATE KEY-----\n{S}\n-----END OPENSSH PRIVATE KEY-----", "pem400"),
    (
        "PEM, encrypted",
        "-----BEGIN RSA "
        "PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A\n\n{S}\n"
        "-----END RSA "
        "PRIVATE KEY-----",
        "pem1600",
    ),
    (
        "PEM, PGP",
        "-----BEGIN PGP "
        "PRIVATE KEY BLOCK-----\nVersion: x\n\n{S}\n=abcd\n-----END PGP "
        "PRIVATE KEY BLOCK-----",
        "pem900",
    ),
    ("PEM on one line", '"-----BEGIN PRIVATE KEY-----\\n{S}\\n-----END PRIVATE KEY-----\\n"', "pemline1600"),
    ("PEM without its end", "-----BEGIN PRIVATE KEY-----\n{S}", "pem700"),
    ("PEM on one line without its end", "-----BEGIN PRIVATE KEY-----\\n{S}", "pemline700"),
    ("PEM without its beginning", "{S}\n-----END PRIVATE KEY-----", "pem700"),
    ("PEM, with spaces", "-----BEGIN PRIVATE KEY----- {S} -----END PRIVATE KEY-----", "base64x400"),
    (
        "service account",
        '{{"type": "service_account", "private_key_id": "x", "private_key": "-----BEGIN '
        "PRIVATE KEY-----\\n{S}\\n-----END "
        'PRIVATE KEY-----\\n"}}',
        "pemline1600",
    ),
    (
        "PuTTY",
        "PuTTY-User-Key-File-2: ssh-rsa\nPublic-Lines: 1\nAAAA\nPrivate-Lines: 3\n{S}\nPrivate-MAC: 00",
        "pem190",
    ),
    ("JWK", '{{"kty": "RSA", "n": "abc", "e": "AQAB", "d": "{S}"}}', "word342"),
    ("SSH option", "ssh_private_key_passphrase={S}", "alnum20"),
    ("license", "LICENSE_KEY={S}", "upper30"),
    ("basic auth tuple", "auth=('bob', '{S}')", "alnum20"),
    ("credential", "credential: {S}", "alnum24"),
    ("MongoDB field", "'authToken': '{S}'", "alnum24"),
    ("Snowpark", "SNOWFLAKE_PASSWORD='{S}'", "pass14"),
    ("Ansible", "ansible_become_pass: {S}", "pass14"),
    ("Terraform", 'variable "db_password" {{\n  default = "x"\n}}\ndb_password = "{S}"', "alnum20"),
    ("GitHub Actions", "::add-mask::x\nINPUT_TOKEN={S}", "alnum30"),
    ("SMTP", "EMAIL_HOST_PASSWORD = '{S}'", "pass14"),
    ("S3", "s3.secret-key={S}", "base64x40"),
    ("MinIO", "MINIO_ROOT_PASSWORD={S}", "pass14"),
    ("Elasticsearch", "xpack.security.http.ssl.keystore.secure_password: {S}", "alnum20"),
    ("Consul", "X-Consul-Token: {S}", "uuid"),
    ("Algolia", "X-Algolia-API-Key: {S}", "hex32"),
    ("Mapbox-like", "secret_token={S}", "word60"),
    ("Weights and Biases", "WANDB_API_KEY={S}", "hex40"),
    ("Twitter", "consumer_secret={S}", "alnum50"),
    ("Facebook", "app_secret={S}", "hex32"),
    ("LinkedIn", "LINKEDIN_CLIENT_SECRET={S}", "alnum16"),
    ("Firebase", '"authSecret": "{S}"', "alnum40"),
    ("Kraken", "API-Sign: x\nAPI-Key: {S}", "base64x56"),
    ("Telegram, in its URL", "for url 'https://api.telegram.org/bot{H}:AA{S}/getMe'", "word33"),
    ("small letters, of a vendor", "openai_key: {S}", "alnum40"),
    ("camel case, of a vendor", "openaiKey: {S}", "hex32"),
    ("a vendor's keyword", "Client(cohere_key='{S}')", "alnum40"),
    ("a numbered name", "DB_PASS1={S}", "alnum14"),
    ("a user's", "userpass={S}", "alnum14"),
    ("root's", "rootpw={S}", "alnum14"),
    ("full-width colon", "password\uff1a{S}", "alnum14"),
    ("no-break space", "Password\xa0: {S}", "alnum14"),
    ("arrow, thin", "password -> {S}", "alnum14"),
    ("aws configure", "aws configure set aws_secret_access_key {S}", "base64x40"),
    ("Dockerfile", "ENV DB_PASS {S}", "alnum14"),
    ("API key in quotes", 'api_key "{S}" is invalid', "alnum24"),
    ("token, a number", "token: {S}", "num14"),
    ("PIN alone", "card:\n  pin: {S}\n", "num4"),
    ("pass, in YAML", "db:\n  pass: {S}\n", "alnum10"),
    ("API key in a sentence", 'api key "{S}" is invalid', "alnum24"),
    ("API key not valid", "API key not valid: {S}", "alnum24"),
    ("token in a sentence", "token {S} has expired", "alnum24"),
    (
        "docker login, as a list",
        "Command '['docker', 'login', '-u', 'bob', '-p', '{S}']' returned non-zero exit status 1.",
        "alnum16",
    ),
    ("sshpass, as a list", "['sshpass', '-p', '{S}', 'ssh', 'db']", "alnum16"),
    ("mysql, as a list", "['mysql', '-u', 'root', '-p{S}', 'app']", "alnum16"),
    ("mysqldump", "mysqldump -h db -uroot -p{S} app", "alnum16"),
    ("redis-cli, as a list", "['redis-cli', '-a', '{S}', 'ping']", "alnum16"),
    ("curl, as a list", "['curl', '-u', 'bob:{S}', 'https://api.acme.com']", "alnum16"),
    ("a tool's login", "['tool', 'login', '-p', '{S}']", "alnum16"),
    (
        "pydantic",
        "1 validation error for Settings\nopenai_api_key\n  Input should be a valid integer [type=int_parsing, "
        "input_value='{S}', input_type=str]\n    For further information visit",
        "alnum24",
    ),
    (
        "pydantic, nested",
        "2 validation errors for Config\ndb.password\n  String should have at least 20 characters "
        "[type=string_too_short, input_value='{S}', input_type=str]\nport\n  Field required",
        "alnum14",
    ),
    ("argparse", "tool: error: argument --token: invalid int value: '{S}'", "alnum24"),
    (
        "argparse, two names",
        "error: argument -p/--password: invalid choice: '{S}' (choose from a, b)",
        "alnum14",
    ),
    ("click", "Error: Invalid value for '--api-key': '{S}' is not a valid integer.", "alnum24"),
    ("basic auth by class", "HTTPBasicAuth('bob', '{S}')", "alnum16"),
    ("SMTP AUTH", "535 5.7.8 after AUTH PLAIN {S}", "base64x30=="),
    ("CloudFormation", "ParameterKey=DbPassword,ParameterValue={S}", "alnum16"),
    ("CloudFormation, JSON", '{{"ParameterKey": "DbPassword", "ParameterValue": "{S}"}}', "alnum16"),
    ("key and val", '{{"key": "password", "val": "{S}"}}', "alnum16"),
    ("type and value", '{{"type": "password", "value": "{S}"}}', "alnum16"),
    ("id and text", "{{'id': 'password', 'text': '{S}'}}", "alnum16"),
    ("SQL, of columns", "INSERT INTO users (name, password, age) VALUES ('bob', '{S}', 7)", "alnum16"),
    (
        "SQLAlchemy",
        "[SQL: INSERT INTO users (name, password) VALUES (?, ?)]\n[parameters: ('bob', '{S}')]",
        "alnum16",
    ),
    (
        "SQLAlchemy, update",
        "[SQL: UPDATE users SET password=? WHERE users.id = ?]\n[parameters: ('{S}', 17)]",
        "alnum16",
    ),
    ("SQLAlchemy, by name", "[SQL: x]\n[parameters: {{'name': 'bob', 'password': '{S}'}}]", "pass14"),
    ("SQL function", "SET PASSWORD FOR 'bob'@'%' = PASSWORD('{S}')", "alnum16"),
    (
        "FastAPI",
        '{{"type":"string_too_short","loc":["body","password"],"msg":"String too short","input":"{S}"}}',
        "alnum16",
    ),
    ("mongosh", "mongosh -u root -p {S} --host db", "alnum16"),
    ("keytool", "keytool -list -storepass {S}", "alnum16"),
    ("openssl", "openssl rsa -in key.pem -passin pass:{S}", "alnum16"),
    ("kubectl literal", "kubectl create secret generic db --from-literal=password={S}", "alnum16"),
    ("helm", "helm upgrade app . --set db.password={S} --set a=b", "alnum16"),
    ("terraform variable", "terraform apply -var 'db_password={S}'", "alnum16"),
    ("terraform plan", '  ~ master_password = "{S}" -> (known after apply)', "alnum16"),
    ("docker build", "docker build --build-arg NPM_TOKEN={S} .", "alnum36"),
    ("docker run", "docker run -e POSTGRES_PASSWORD={S} -d postgres", "alnum16"),
    ("pytest, a local", "password   = '{S}'\nself       = <Client object at 0x7f>", "alnum16"),
    ("pytest, arguments", "kwargs     = {{'headers': {{'x-api-key': '{S}'}}}}", "alnum24"),
    (
        "httpx, a query",
        "Client error '403 Forbidden' for url 'https://maps.acme.com/json?address=x&key={S}'",
        "alnum39",
    ),
    ("httpcore", "request headers=[(b'host', b'x'), (b'x-api-key', b'{S}')]", "alnum24"),
    ("gRPC metadata", "metadata: (('authorization', 'Bearer {S}'), ('x', 'y'))", "word40"),
    ("OAuth code", "GET /callback?code={S}&state=x HTTP/1.1", "alnum40"),
    ("WebSocket ticket", "wss://acme.com/live?ticket={S}", "alnum32"),
    ("PKCE", "grant_type=authorization_code&code_verifier={S}", "alnum43"),
    ("MFA", "mfa_code={S}", "num6"),
    ("German", "Kennwort: {S}", "pass14"),
    ("Spanish", "contrasena={S}", "alnum14"),
    ("Azure Hadoop", "fs.azure.account.key.acme.dfs.core.windows.net={S}", "base64x86=="),
    ("Spark", "spark.hadoop.fs.s3a.secret.key={S}", "base64x40"),
    ("authorization alone", "authorization {S} was refused", "alnum32"),
    ("HTML meta", '<meta name="csrf-token" content="{S}">', "word40"),
    ("Binance", "X-MBX-APIKEY: {S}", "alnum64"),
)


class Sample(NamedTuple):
    """One secret in its usual surroundings.

    Attributes:
        name: What it is.
        text: The text with it.
        secret: The part that must not survive.
    """

    name: str
    text: str
    secret: str


_PIECE = re.compile(
    r"(base64urlx|base64x|alnum|lower|upper|word|hex|num|pass|pemline|pem|aws|jwt|uuid|basic|mnemonic|slackpath)(\d*)"
)


def fill(rng: random.Random, form: str) -> str:
    """Return a text of a form such as ``hex32`` or ``num12-alnum24``."""
    return _PIECE.sub(lambda found: _filled(rng, found[1], int(found[2] or 0)), form)


def _filled(rng: random.Random, kind: str, length: int) -> str:  # noqa: C901 -- a table in words
    def draw(alphabet: str, count: int = length) -> str:
        return "".join(rng.choices(alphabet, k=count))

    if kind in ("alnum", "lower", "upper", "word", "hex", "num"):
        alphabet = {
            "alnum": ALNUM,
            "lower": LOWER,
            "upper": UPPER,
            "word": WORD,
            "hex": HEX,
            "num": string.digits,
        }[kind]
        text = draw(alphabet)
        # Of any draw: a letter first and a digit in it, as a generator's texts of that length have.
        if kind in ("alnum", "lower", "upper", "word") and length > 8:
            text = (
                rng.choice(alphabet[:20]) + text[1:-2] + rng.choice(string.digits) + rng.choice(alphabet[:20])
            )
        return text
    if kind == "base64x":
        return draw(BASE64)
    if kind == "aws":
        return "aB3" + draw(BASE64, 37)
    if kind == "base64urlx":
        return quote(draw(ALNUM, length - 8) + "+/+/4Kz=", safe="")
    if kind == "pass":
        return rng.choice(ALNUM) + draw(ALNUM + "!#$%*+-.?@^_~", length - 2) + rng.choice(ALNUM)
    if kind in ("pem", "pemline"):
        return ("\n" if kind == "pem" else "\\n").join(textwrap.wrap("MII" + draw(BASE64), 64))
    if kind == "uuid":
        return "-".join(draw(HEX, count) for count in (8, 4, 4, 4, 12))
    if kind == "basic":
        return base64.b64encode(f"bob:{draw(ALNUM, 16)}".encode()).decode()
    if kind == "mnemonic":
        return " ".join(
            rng.choice(("witch", "collapse", "practice", "feed", "shame", "open")) for _ in range(12)
        )
    if kind == "slackpath":
        return f"T{draw(UPPER, 10)}/B{draw(UPPER, 10)}/{draw(ALNUM, 24)}"
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
    body = base64.urlsafe_b64encode(json.dumps({"sub": draw(ALNUM, 20)}).encode()).decode().rstrip("=")
    return f"{head}.{body}.{draw(WORD, 43)}"


def shapes() -> list[tuple[str, str, str]]:
    """Return all shapes: name, text with blanks, form of what fills them."""
    return [
        *((name, text.replace("{{", "{").replace("}}", "}"), form) for name, text, form in TOKENS),
        *BY_NAME,
        *VENDORS,
        *COMMANDS,
    ]


def samples(seed: int = 0) -> list[Sample]:
    """Return one sample of each shape."""
    rng = random.Random(seed)
    out = []
    for name, text, form in shapes():
        secret = fill(rng, form)
        blanks = {"{H32}": fill(rng, "hex32"), "{H2}": fill(rng, "upper16"), "{H}": fill(rng, "num10")}
        for blank, harmless in blanks.items():
            text = text.replace(blank, harmless)
        out.append(Sample(name, text.replace("{{", "{").replace("}}", "}").replace("{S}", secret), secret))
    return out


def _traceback(text: str) -> str:
    return (
        'Traceback (most recent call last):\n  File "/srv/app/fetch.py", line 12, in fetch\n    await get(url)\n'
        f"app.errors.FetchError: could not fetch: {text}"
    )


CONTAINERS: dict[str, Callable[[str], str]] = {
    "raw": lambda text: text,
    "in a sentence": lambda text: f"request failed ({text})",
    "in an exception": lambda text: f"{type(ValueError()).__name__}: bad answer 401 for {text}",
    "in its repr": lambda text: repr(ValueError(text)),
    "in a traceback": _traceback,
    "in a log line": lambda text: f"2026-11-22 08:00:00,123 ERROR app.client[42]: retry 3/5: {text}",
    "in a dict": lambda text: repr({"attempt": 3, "detail": text, "ok": False}),
    "in JSON": lambda text: json.dumps({"attempt": 3, "detail": text, "ok": False}),
    "in JSON in JSON": lambda text: json.dumps({"body": json.dumps({"detail": text, "n": 1}), "ok": False}),
    "in a URL": lambda text: f"https://acme.com/report?detail={quote(text, safe='')}&page=2",
    "in several lines": lambda text: f"first line\n{text}\nlast line",
}


def variants(seed: int = 0) -> Iterator[tuple[str, Sample]]:
    """Yield each sample in each container, with the container's name."""
    for sample in samples(seed):
        for name, container in CONTAINERS.items():
            yield name, sample._replace(text=container(sample.text))


WINDOW = 8
"""Characters of a secret in a row that must not be left, or all of it where it is shorter."""


def leaks(secret: str, text: str) -> list[str]:
    """Return the pieces of `secret` that are in `text`, whatever the escaping of its line breaks."""
    parts = re.split(r"\s+|\\+n", secret)
    pieces = []
    for part in parts:
        width = min(len(part), WINDOW)
        if len(parts) > 1 and len(part) < WINDOW:
            continue
        pieces += [part[i : i + width] for i in range(len(part) - width + 1)]
    if len(parts) > 6 and len(secret) < 200:  # words of a phrase: only their order is a secret
        pieces = [secret, " ".join(parts[:4]), " ".join(parts[-4:])]
    return [piece for piece in dict.fromkeys(pieces) if piece in text]


HEX_WINDOW = 12
"""As `WINDOW` in a long text, for hexadecimal digits: eight of a secret's are among a thousand random ids by chance."""


def leaked(samples: list[Sample], text: str) -> set[str]:
    """Return the names of `samples` of whose secrets a piece is in `text`, which may be megabytes.

    As `leaks`, but that secrets shorter than `WINDOW`, or `HEX_WINDOW`, are left out: a long text has any six digits.
    """
    owners: dict[str, str] = {}
    found = set()
    for sample in samples:
        if " " in sample.secret:
            if leaks(sample.secret, text):
                found.add(sample.name)
            continue
        for part in re.split(r"\s+|\\+n", sample.secret):
            for width in (WINDOW, HEX_WINDOW):
                pieces = (part[i : i + width] for i in range(len(part) - width + 1))
                owners.update(
                    (piece, sample.name)
                    for piece in pieces
                    if (width == HEX_WINDOW) is (re.fullmatch("[0-9a-fA-F]+", piece) is not None)
                )
    for width in (WINDOW, HEX_WINDOW):
        found.update(owners[piece] for i in range(len(text)) if (piece := text[i : i + width]) in owners)
    return found
