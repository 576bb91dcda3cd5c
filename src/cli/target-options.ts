/** The options by which a command finds its gateway (cli.md § 2), written once. */
import type { Command } from "commander";
import { collect } from "./globals.ts";

export interface TargetFlags {
  readonly url?: string;
  readonly host?: string;
  readonly port?: string;
  readonly tls?: boolean;
  readonly contextPath?: string;
  readonly tlsFingerprint?: string;
  readonly tlsAcceptNew?: boolean;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly password?: string;
  readonly passwordFile?: string;
  readonly header?: readonly string[];
  readonly headerFile?: string;
  readonly authHeader?: boolean;
  readonly insecureWs?: boolean;
}

/** Adds them to a command that talks to a gateway. */
export function withTarget(command: Command): Command {
  return command
    .option("--url <url>", "the gateway: ws(s)://host:port/path")
    .option("--host <host>", "the gateway's host (default: 127.0.0.1)")
    .option("--port <port>", "the gateway's port (default: 18789)")
    .option("--tls", "use wss")
    .option("--context-path <path>", "the path behind which a proxy has the gateway")
    .option(
      "--tls-fingerprint <sha256>",
      "the only certificate to accept, in hex, or sha256/<base64> for its public key",
    )
    .option(
      "--tls-accept-new",
      "take a self-signed certificate on first sight, and hold the gateway to it from then on",
    )
    .option("--token <token>", "the gateway's token; better --token-file: argv can be read by others")
    .option("--token-file <path>", "a file with the gateway's token, or - for stdin")
    .option("--password <password>", "the gateway's password; better --password-file")
    .option("--password-file <path>", "a file with the gateway's password, or - for stdin")
    .option(
      "--header <header>",
      "'Name: value' for a proxy in front of the gateway; repeatable; better --header-file or OPENCLAW_GATEWAY_HEADERS",
      collect,
    )
    .option("--header-file <path>", "a file with such headers, one a line (# begins a comment), or - for stdin")
    .option("--no-auth-header", "do not send Authorization on the upgrade")
    .option("--insecure-ws", "send secrets over plain ws to a host that is not loopback");
}

const groupsWithTarget: ReadonlySet<string> = new Set(["call", "devices", "nodes", "pair"]);
const commandsWithTarget: ReadonlySet<string> = new Set(["gateway status", "node install", "node run"]);
/** They find both gateways by options of their own, or work on this machine's own gateway, which may not even run. */
const commandsWithoutTarget: ReadonlySet<string> = new Set(["pair link", "pair unlink", "devices service-account"]);

/** True when a command that starts with these words (`devices approve`) takes the target options. */
export function takesTarget(words: string): boolean {
  const [group = "", verb = ""] = words.split(" ");
  const command = `${group} ${verb}`;
  return commandsWithTarget.has(command) || (groupsWithTarget.has(group) && !commandsWithoutTarget.has(command));
}

/**
 * True when they say all that a configuration could: where the gateway is, what to show it, and, with TLS, the only certificate to take. A pin
 * that stands in a configuration nobody can read must not be done without.
 */
export function standAlone({ url, host, tls, tlsFingerprint, ...flags }: TargetFlags): boolean {
  const { token, tokenFile, password, passwordFile } = flags;
  const hasCredential = [token, tokenFile, password, passwordFile].some((one) => one !== undefined);
  const isPlain = tls !== true && !/^(?:wss|https):/iu.test(url ?? "");
  return (url !== undefined || host !== undefined) && hasCredential && (isPlain || tlsFingerprint !== undefined);
}

/** True for options of a command that takes the target options: `--port` of `gateway run` is another port, `--password-file` of a tunnel another password. */
export function hasTarget({ authHeader }: TargetFlags): boolean {
  return authHeader !== undefined; // `--no-auth-header` has a value wherever it exists
}
