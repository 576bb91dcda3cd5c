/** `openclaw tunnel open` */
import { homedir, userInfo } from "node:os";
import type { Command } from "commander";
import { parseDuration } from "../../../config/duration.ts";
import { OpenClawError } from "../../../errors.ts";
import type { Secret } from "../../../secret.ts";
import type { TunnelEvent } from "../../../tunnel/tunnel.ts";
import type { Context } from "../../context.ts";
import { collect, defineCommand } from "../../globals.ts";
import { askSecret, askYesNo } from "../../prompt.ts";

interface Flags {
  readonly remoteForward?: readonly string[];
  readonly localForward?: readonly string[];
  readonly name?: string;
  readonly identityFile?: readonly string[];
  readonly knownHosts?: string;
  readonly hostKeyPolicy: string;
  readonly hostKeyFingerprint?: string;
  readonly passwordFile?: string;
  readonly passphraseFile?: string;
  readonly keepalive: string;
  readonly reconnect: boolean;
}

export function openCommand(context: Context): Command {
  return defineCommand("open", "forward ports through an SSH connection that heals itself", [
    "openclaw tunnel open me@cloud.example -R 18791:127.0.0.1:18789",
    "openclaw tunnel open me@cloud.example:2222 -L 18790:127.0.0.1:18789 -i ~/.ssh/id_ed25519",
  ])
    .argument("<destination>", "[user@]host[:port]")
    .option(
      "-R, --remote-forward <forward>",
      "[bind:]port:host:hostport, listening on the server; port 0 lets it choose; repeatable",
      collect,
    )
    .option("-L, --local-forward <forward>", "[bind:]port:host:hostport, listening here; repeatable", collect)
    .option("--name <name>", "what to call the tunnel")
    .option("-i, --identity-file <file>", "a private key; repeatable (default: the agent, then ~/.ssh/id_*)", collect)
    .option("--known-hosts <file>", "the known_hosts file (default: ~/.ssh/known_hosts)")
    .option("--host-key-policy <policy>", "strict asks about an unknown host key, accept-new remembers it", "strict")
    .option("--host-key-fingerprint <sha256>", "SHA256:… of the only host key to accept")
    .option("--password-file <path>", "a file with the SSH password, or - for stdin")
    .option("--passphrase-file <path>", "a file with the passphrase of the key, or - for stdin")
    .option("--keepalive <duration>", "how often the server must give a sign of life", "5s")
    .option("--no-reconnect", "end when the connection is lost")
    .action(async (destination: string, flags: Flags) => {
      const { parseDestination, parseForward } = await import("../../../tunnel/destination.ts");
      const { openTunnel } = await import("../../../tunnel/tunnel.ts");
      const { user, ...address } = parseDestination(destination);
      const forwards = [
        ...(flags.remoteForward ?? []).map((text) => parseForward("remote", text)),
        ...(flags.localForward ?? []).map((text) => parseForward("local", text)),
      ];
      if (forwards.length === 0)
        throw new OpenClawError("usage", "a tunnel needs a forward", { hint: "name one with -R or -L" });
      const ssh = await sshOptions(context, flags);
      const keepaliveMs = parseDuration(flags.keepalive, "--keepalive");
      const open = () =>
        openTunnel({
          ssh: { ...address, user: user ?? userInfo().username, ...ssh, keepaliveMs },
          forwards,
          ...(flags.name === undefined ? {} : { name: flags.name }),
          reconnect: flags.reconnect,
          signal: context.options.signal,
          runtime: context.runtime,
          onEvent: (event) => context.output.event(event, describeEvent),
        });
      await context.untilStopped(async () => {
        await using tunnel = await open();
        await tunnel.closed;
      });
    });
}

async function sshOptions(context: Context, flags: Flags) {
  const { Credentials } = await import("../../../tunnel/credentials.ts");
  const { knownHostsFiles } = await import("../../../tunnel/host-keys.ts");
  const home = context.options.env["HOME"] || homedir();
  const agentSocket = context.options.env["SSH_AUTH_SOCK"];
  const passphrase = await context.secretFile(flags.passphraseFile);
  const password = await context.secretFile(flags.passwordFile);
  return {
    hostKeys: {
      files: knownHostsFiles(home, flags.knownHosts),
      policy: readPolicy(flags.hostKeyPolicy),
      ...(flags.hostKeyFingerprint === undefined ? {} : { fingerprint: flags.hostKeyFingerprint }),
      askHostKey: context.canAsk ? (question: HostKeyQuestion) => askHostKey(context, question) : undefined,
    },
    credentials: new Credentials({
      home,
      ...(agentSocket ? { agentSocket } : {}),
      ...(flags.identityFile === undefined ? {} : { identityFiles: flags.identityFile }),
      ...(password === undefined ? {} : { password }),
      ...(passphrase === undefined ? {} : { passphrase }),
      ...(context.canAsk ? { askPassphrase: (path: string) => askPassphrase(context, path) } : {}),
    }),
  };
}

interface HostKeyQuestion {
  readonly host: string;
  readonly port: number;
  readonly keyType: string;
  readonly fingerprint: string;
}

function askHostKey(context: Context, { host, port, keyType, fingerprint }: HostKeyQuestion): Promise<boolean> {
  return askYesNo(context, `${host}:${port} is not known. Its ${keyType} key is ${fingerprint}. Trust it from now on?`);
}

async function askPassphrase(context: Context, path: string): Promise<Secret | undefined> {
  const answer = await askSecret(context, `Passphrase of ${path}`);
  if (answer === undefined) return undefined;
  const { Secret } = await import("../../../secret.ts");
  return new Secret(answer);
}

function readPolicy(policy: string): "strict" | "accept-new" {
  if (policy === "strict" || policy === "accept-new") return policy;
  throw new OpenClawError("usage", `there is no host key policy "${policy}"`, { hint: "strict or accept-new" });
}

function describeEvent(event: TunnelEvent): string | undefined {
  switch (event.event) {
    case "connecting":
      return `connecting to ${event.destination}`;
    case "forward":
      return `${event.direction} ${event.bind}:${event.port} -> ${event.target}`;
    case "ready":
      return `tunnel ${event.name} is up (pid ${event.pid})`;
    case "disconnected":
      return `disconnected: ${event.reason}${event.retryInMs === undefined ? "" : `; next try in ${event.retryInMs} ms`}`;
    case "reconnected":
      return `back after ${event.downMs} ms`;
    case "stopped":
      return "stopped";
  }
}
