/** Every failure code in words: its exit code, what it means, what usually causes it, what to type. `openclaw explain` prints it. */
import type { FailureCode } from "../errors.ts";
import { type ExitName, exitNames } from "./exit-codes.ts";

export interface FailureEntry {
  readonly exit: ExitName;
  readonly meaning: string;
  readonly causes: string;
  /** Commands to type, or steps to take. */
  readonly remedy: string;
}

const texts: Readonly<Record<FailureCode, Omit<FailureEntry, "exit">>> = {
  failed: {
    meaning: "the command failed in a way that has no code of its own",
    causes: "the gateway or the node reported a failure of theirs",
    remedy: "read the message; run it again with --verbose",
  },
  internal: {
    meaning: "this program has a bug",
    causes: "something happened that nobody foresaw",
    remedy: "run it again with --debug and report what it prints",
  },
  protocol: {
    meaning: "what came over the wire was not what the protocol says",
    causes: "a gateway or client of another version, or a proxy that changes messages",
    remedy: "openclaw gateway status shows both versions",
  },
  "invoke-failed": {
    meaning: "the node took the command and answered with an error",
    causes: "wrong parameters, or the node's own exec policy refused the program",
    remedy: "read the node's message; openclaw nodes describe <node> shows what it offers",
  },
  "invoke-timeout": {
    meaning: "the node did not answer the invoke in time",
    causes: "a slow program, or a node whose machine is asleep",
    remedy: "give it longer with --invoke-timeout 60s",
  },
  "state-unreadable": {
    meaning: "a file of the state directory cannot be read, or is not what it should be; it was left as it is",
    causes: "another owner, a half-restored backup, a full disk in the past, a file of another program",
    remedy: "look at the file that the message names; restore it, or move it away",
  },
  "state-unwritable": {
    meaning: "the state directory cannot be written",
    causes: "a read-only file system, a full disk, another owner",
    remedy: "make it writable, or choose another one with --state-dir",
  },
  "no-service-manager": {
    meaning: "nothing on this machine keeps services for this user, or it cannot be reached from here",
    causes: "a container, a system without systemd or launchd, a shell by su or sudo that has no session of the user",
    remedy:
      "log in as the user, or loginctl enable-linger <user>; elsewhere start openclaw node run by what starts programs there",
  },
  usage: {
    meaning: "the command line is not right, or an answer is missing that nobody can be asked for",
    causes: "a misspelt option, a bad value, a prompt without a terminal",
    remedy: "openclaw <command> --help",
  },
  "config-invalid": {
    meaning: "a configuration file has unknown keys or values of the wrong type",
    causes: "a misspelt key; a key of another version",
    remedy: "openclaw config validate lists every problem",
  },
  unreachable: {
    meaning: "no connection to the gateway came about, or it was lost",
    causes: "the gateway is down, the port is wrong, the tunnel in front of it is down, the name does not resolve",
    remedy: "openclaw gateway status --url <url>; on its host: openclaw gateway run",
  },
  "tls-failed": {
    meaning: "TLS could not be set up",
    causes: "a self-signed certificate without a pin, a name that the certificate does not have, TLS on one side only",
    remedy:
      "compare the fingerprint that the message names, then pin it with --tls-fingerprint <sha256>, or take it on first sight with --tls-accept-new; an authority of your own goes in NODE_EXTRA_CA_CERTS; where only one side has TLS, ws:// for wss://, or the reverse",
  },
  "not-a-gateway": {
    meaning: "something listens there, but it is no gateway",
    causes: "the wrong port, most often; a web server or another service answers",
    remedy: "check --port; the gateway's default is 18789",
  },
  timeout: {
    meaning: "no answer came in time",
    causes: "a firewall that drops packets, a tunnel whose far end hangs, an overloaded machine",
    remedy: "try again with --timeout 30s",
  },
  starting: {
    meaning: "the gateway is starting or stopping and takes no connections at the moment",
    causes: "a restart",
    remedy: "wait a few seconds and try again",
  },
  "node-offline": {
    meaning: "the node is known, but it is not connected",
    causes: "its node host is not running, or its tunnel is down",
    remedy: "on the node's machine: openclaw node run",
  },
  unauthorized: {
    meaning: "the gateway did not accept who is asking",
    causes: "an authentication mode that this client does not serve",
    remedy: "openclaw gateway status shows the mode; the gateway's log has the reason in the line with 'auth failed'",
  },
  "credential-missing": {
    meaning: "the gateway wants a token or a password and got none",
    causes: "no --token-file, no OPENCLAW_GATEWAY_TOKEN, no token for this gateway in the configuration",
    remedy: "on the gateway's host: openclaw gateway token --show; then pass it with --token-file",
  },
  "token-mismatch": {
    meaning: "the token is not the gateway's",
    causes: "a token of another gateway, an old token, a port that leads to another gateway",
    remedy: "compare digests: openclaw gateway token on the gateway's host",
  },
  "password-mismatch": {
    meaning: "the password is not the gateway's",
    causes: "a typo, or a password that was changed",
    remedy: "check gateway.auth.password on the gateway's host",
  },
  "device-token-mismatch": {
    meaning: "this device's token was rotated or revoked, or the device was removed",
    causes: "an operator rotated, revoked or removed it",
    remedy: "connect with the gateway's token once (--token-file), or have the device approved again",
  },
  "device-identity-required": {
    meaning: "the gateway wants a device key, and the connection came without one",
    causes: "a connection through a tunnel or from another machine cannot pass as the gateway's own caller",
    remedy: "openclaw identity create; then have the device approved",
  },
  "device-signature-refused": {
    meaning: "the gateway did not accept the device's signature",
    causes: "a proxy that replays connections, or an identity file that was mixed from two",
    remedy: "openclaw identity show checks the identity",
  },
  "clock-skew": {
    meaning: "the signature is older or newer than two minutes by the gateway's clock",
    causes: "one of the two clocks is wrong",
    remedy: "set both clocks (timedatectl set-ntp true)",
  },
  "bootstrap-invalid": {
    meaning: "the invite or setup code is used, expired or revoked",
    causes: "codes work once and for a few minutes",
    remedy:
      "openclaw pair verify --code-file <file> --online says what became of it; a new one: openclaw pair invite, on the gateway's host",
  },
  "upgrade-refused": {
    meaning:
      "the HTTP upgrade was refused before a WebSocket existed (401, 403, a login page or a redirect to one); details.edge says so where it was a proxy in front of the gateway",
    causes:
      "a wrong Authorization header, an access proxy in front of the gateway, a tunnel to the wrong port (gateway port + 2 is another service)",
    remedy:
      "check the port the tunnel leads to; pass a proxy's service token with --header, OPENCLAW_GATEWAY_HEADERS or the setting headers; --no-auth-header if the proxy uses Authorization itself",
  },
  "insecure-transport": {
    meaning: "a secret would have left this machine over an unencrypted connection, so it was not sent",
    causes: "ws:// to an address that is not loopback",
    remedy: "use wss://, a tunnel (openclaw tunnel open), or --insecure-ws if the network is trusted",
  },
  "tls-pin-mismatch": {
    meaning: "the server's certificate or public key is not the pinned one; nothing secret was sent",
    causes: "the certificate was renewed, or somebody is in between",
    remedy:
      "verify the new fingerprint out of band, then pass it as --tls-fingerprint; with --tls-accept-new beside it, it takes the place of one that was accepted on first sight",
  },
  "host-key-changed": {
    meaning: "the SSH server's key is not the known one; nothing was sent",
    causes: "the server was reinstalled, or somebody is in between",
    remedy: "verify the new key out of band, then remove the line that the message names from known_hosts",
  },
  "host-key-unknown": {
    meaning: "the SSH server's key is not known, and it was not accepted when it was shown",
    causes: "a first connection to this server",
    remedy:
      "compare the fingerprint with the server's (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then accept it or pass it as --host-key-fingerprint",
  },
  "pairing-required": {
    meaning: "the gateway does not know this device in this role; a request waits for approval",
    causes: "first contact, a new role or wider scopes, or a request that expired after five minutes",
    remedy: "on the gateway's host: openclaw devices list, then openclaw devices approve <request>",
  },
  "surface-approval-required": {
    meaning: "the node is paired, but its command list still waits for approval",
    causes: "the second approval of a new node, or a node that offers more commands than before",
    remedy: "on the gateway's host: openclaw nodes pending, then openclaw nodes approve <request>",
  },
  "pairing-rejected": {
    meaning: "a person said no to the request",
    causes: "the gateway's owner rejected it",
    remedy: "ask the owner; connecting again makes a new request",
  },
  "approval-unconfirmed": {
    meaning: "the newest request was shown and not approved",
    causes: "--latest without --yes: approving the newest request unseen is how an attacker gets in",
    remedy: "compare the fingerprint, then approve that request by its id",
  },
  forbidden: {
    meaning: "authenticated, but a rule does not allow this",
    causes: "a role that may not call the method, an origin that is not allowed",
    remedy: "use a connection with the rights; the message names the rule",
  },
  "scope-missing": {
    meaning: "the connection does not hold the scope that the method takes",
    causes: "a device approved for fewer scopes; a connection without a device key from another machine",
    remedy: "approve the device's wider request, or run the command on the gateway's host",
  },
  "command-not-allowed": {
    meaning: "the node may not be asked this command",
    causes: "the node does not offer it, or the gateway's policy for its platform drops it",
    remedy: "openclaw nodes describe <node> lists what it offers; gateway.nodes.commands.allow widens the policy",
  },
  "rate-limited": {
    meaning: "the gateway asks to wait after too many failed attempts",
    causes: "a wrong token tried again and again from this address",
    remedy: "correct the credential and wait; details.retryAfterMs says how long",
  },
  ssh: {
    meaning: "the SSH connection failed or was lost",
    causes: "the host is down, the port is wrong, what answers is no SSH server",
    remedy: "try ssh -v <destination> with the same host and port",
  },
  "ssh-auth": {
    meaning: "the SSH server refused every key and password offered",
    causes: "the key is not in authorized_keys, the agent holds another key, a wrong user",
    remedy: "name the key with -i <file>; ssh-copy-id installs it on the server",
  },
  "ssh-forward": {
    meaning: "the SSH server refused the forward",
    causes: "AllowTcpForwarding or PermitListen in sshd_config, or the remote port is taken",
    remedy: "take another remote port (0 lets the server choose), or change the server's policy",
  },
  conflict: {
    meaning: "something else already is where this should be, or was decided before",
    causes: "the same identity in two processes, a request that was already resolved",
    remedy: "the message names what is in the way",
  },
  "not-found": {
    meaning: "there is no such device, request, node or key",
    causes: "a typo, an expired request, a device that was removed",
    remedy: "openclaw devices list and openclaw nodes list show what there is",
  },
  ambiguous: {
    meaning: "the short id or the name fits several things",
    causes: "a prefix that is too short, a name used twice",
    remedy: "give more of the id; the message lists the candidates",
  },
  superseded: {
    meaning: "the request was replaced by a newer one of the same device that asks for more",
    causes: "the device came back with wider scopes or another role",
    remedy: "look at the newer request before you approve it: openclaw devices list",
  },
  "port-in-use": {
    meaning: "the port is taken",
    causes: "another gateway or tunnel already runs there",
    remedy: "stop it, or take another port with --port",
  },
  locked: {
    meaning: "another process is working on the same state",
    causes: "a second gateway on the same state directory, or a command that is still running",
    remedy: "stop the process that the message names, or use another --state-dir",
  },
  incompatible: {
    meaning: "the two sides have no protocol version in common, or the gateway has no such method yet",
    causes: "one of them is much older",
    remedy: "update the older side; the message says which",
  },
};

/** Each code with its exit code's name and its texts. */
export const failureCodes = Object.fromEntries(
  Object.entries(exitNames).map(([code, exit]) => [code, { exit, ...texts[code as FailureCode] }]),
) as Readonly<Record<FailureCode, FailureEntry>>;
