/** The options of an SSH connection (cli.md § 3, tunnel), written once, and what they come to for one destination. */
import { homedir, hostname, userInfo } from "node:os";
import type { Command } from "commander";
import { parseDuration } from "../config/duration.ts";
import { OpenClawError } from "../errors.ts";
import type { Secret } from "../secret.ts";
import type { HostKeyQuestion } from "../ssh/host-keys.ts";
import type { GivenSsh } from "../ssh/route.ts";
import type { LocalFacts } from "../ssh/ssh-config-tokens.ts";
import type { TunnelOptions } from "../tunnel/tunnel.ts";
import type { Context } from "./context.ts";
import { collect } from "./globals.ts";
import { askSecret, askText, isYes } from "./prompt.ts";
import { hasTarget } from "./target-options.ts";

type HostKeyPolicy = TunnelOptions["ssh"]["hostKeys"]["policy"];

export interface SshFlags {
  readonly identityFile?: readonly string[];
  readonly jump?: string;
  readonly sshConfig?: string;
  readonly knownHosts?: string;
  readonly hostKeyPolicy?: string;
  readonly hostKeyFingerprint?: string;
  /** The gateway's where a command takes the target options too; the SSH server's is `sshPasswordFile` there. */
  readonly passwordFile?: string;
  readonly sshPasswordFile?: string;
  readonly passphraseFile?: string;
  readonly keepalive?: string;
}

/** Where a connection goes and how, and the destination as a person wrote it. */
export interface SshChoice {
  readonly destination: string;
  readonly ssh: TunnelOptions["ssh"];
}

/** Adds the options to a command; beside the target options, `--password-file` becomes `--ssh-password-file`. */
export function addSshOptions(command: Command): Command {
  const beside = command.options.some(({ long }) => long === "--password-file");
  return command
    .option("-i, --identity-file <file>", "a private key; repeatable (default: the agent, then ~/.ssh/id_*)", collect)
    .option("-J, --jump <hosts>", "go through [user@]host[:port]; several, separated by commas, one behind the other")
    .option("-F, --ssh-config <file>", "the SSH configuration, or none (default: ~/.ssh/config, /etc/ssh/ssh_config)")
    .option("--known-hosts <file>", "the known_hosts file (default: ~/.ssh/known_hosts)")
    .option("--host-key-policy <policy>", "strict asks about an unknown host key (default), accept-new remembers it")
    .option("--host-key-fingerprint <sha256>", "SHA256:… of the only host key to accept")
    .option(`--${beside ? "ssh-" : ""}password-file <path>`, "a file with the SSH password, or - for stdin")
    .option("--passphrase-file <path>", "a file with the passphrase of the key, or - for stdin")
    .option("--keepalive <duration>", "how often the server must give a sign of life (default: 5s)");
}

/**
 * What the options come to for `[user@]host[:port]`: a flag beats the SSH configuration, which beats the default. Throws `usage` for what
 * cannot be read, `ssh-auth` for a key that others can read.
 */
export async function readSshOptions(context: Context, destination: string, flags: SshFlags): Promise<SshChoice> {
  const { parseDestination } = await import("../ssh/destination.ts");
  const { planRoute } = await import("../ssh/route.ts");
  const { readSshConfig } = await import("../ssh/ssh-config-file.ts");
  const parsed = parseDestination(destination);
  const local = localFacts(context);
  const config = await readSshConfig({ home: local.home, file: flags.sshConfig });
  const { ssh, notes } = planRoute(parsed, { config, local, given: await givenBy(context, flags) });
  // What the system's own file says holds for every program on the machine, and no person is waiting to hear of it.
  for (const note of notes) {
    if (note.startsWith("/etc/")) context.output.detail(note);
    else context.output.warn(note);
  }
  await Promise.all([ssh, ...(ssh.jumps ?? [])].map(({ credentials }) => credentials.check()));
  return { destination, ssh };
}

function localFacts(context: Context): LocalFacts {
  const { env } = context.options;
  const { username, uid } = userInfo();
  return { home: env["HOME"] || homedir(), user: username, uid, hostName: hostname(), env };
}

async function givenBy(context: Context, flags: SshFlags): Promise<GivenSsh> {
  const { identityFile, jump, knownHosts, hostKeyPolicy, hostKeyFingerprint, keepalive } = flags;
  const passphrase = await context.secretFile(flags.passphraseFile, "--passphrase-file");
  const password = await readPassword(context, flags);
  return {
    ...(identityFile === undefined ? {} : { identityFiles: identityFile }),
    ...(jump === undefined ? {} : { jump }),
    ...(knownHosts === undefined ? {} : { knownHosts }),
    ...(hostKeyPolicy === undefined ? {} : { hostKeyPolicy: readPolicy(hostKeyPolicy) }),
    ...(hostKeyFingerprint === undefined ? {} : { fingerprint: readFingerprint(hostKeyFingerprint) }),
    ...(keepalive === undefined ? {} : { keepaliveMs: parseDuration(keepalive, "--keepalive") }),
    ...(passphrase === undefined ? {} : { passphrase }),
    ...(password === undefined ? {} : { password }),
    ...(context.canAsk ? questionsFor(context) : {}),
  };
}

function questionsFor(context: Context): Pick<GivenSsh, "askHostKey" | "askPassphrase" | "askAnswer"> {
  return {
    askHostKey: (question) => askHostKey(context, question),
    askPassphrase: (path) => secret(askSecret(context, `Passphrase of ${path}`)),
    askAnswer({ server, text, instructions, isHidden }) {
      if (instructions !== undefined) context.output.note(`${server}: ${instructions}`);
      const message = text.includes(server) ? text : `${server} asks: ${text}`;
      return secret(isHidden ? askSecret(context, message) : askText(context, message));
    },
  };
}

async function secret(answer: Promise<string | undefined>): Promise<Secret | undefined> {
  const text = await answer;
  if (text === undefined) return undefined;
  const { Secret } = await import("../secret.ts");
  return new Secret(text);
}

function readPassword(context: Context, flags: SshFlags): Promise<Secret | undefined> {
  return hasTarget(flags)
    ? context.secretFile(flags.sshPasswordFile, "--ssh-password-file")
    : context.secretFile(flags.passwordFile, "--password-file");
}

/** Asks until the answer is clear: yes, no, or the fingerprint that the person has from elsewhere, which is compared. */
async function askHostKey(
  context: Context,
  { host, port, keyType, fingerprint, note }: HostKeyQuestion,
): Promise<boolean> {
  const about = note === undefined ? "" : ` (${note})`;
  context.output.note(`${host}:${port} is not known. Its ${keyType} key is ${fingerprint}${about}.`);
  for (;;) {
    const typed = await askText(context, "Trust it from now on? (yes, no, or the fingerprint it should have)");
    const answer = (typed ?? "no").trim();
    if (isYes(answer) || isSameFingerprint(answer, fingerprint)) return true;
    if (answer === "" || /^no?$/i.test(answer)) return false;
    if (!isFingerprint(answer)) continue;
    context.output.warn(`it should have the key ${answer}, and has ${fingerprint}`);
    return false;
  }
}

function isFingerprint(text: string): boolean {
  return /^SHA256:[A-Za-z0-9+/]{43}=?$/.test(text);
}

/** Padding is forgiven: some tools print it. */
function isSameFingerprint(text: string, fingerprint: string): boolean {
  return text.replace(/=$/, "") === fingerprint;
}

function readPolicy(policy: string): HostKeyPolicy {
  if (policy === "strict" || policy === "accept-new") return policy;
  throw new OpenClawError("usage", `there is no host key policy "${policy}"`, { hint: "strict or accept-new" });
}

/** Something that can never match would only look like a changed key. */
function readFingerprint(text: string): string {
  if (isFingerprint(text)) return text;
  throw new OpenClawError("usage", `"${text}" is not a SHA256 fingerprint`, {
    hint: "SHA256: and 43 characters, as ssh-keygen -l prints it",
  });
}
