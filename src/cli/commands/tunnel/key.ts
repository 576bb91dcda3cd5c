/** `openclaw tunnel key` */
import type { Command } from "commander";
import { OpenClawError } from "../../../errors.ts";
import type { ForwardSpec } from "../../../ssh/destination.ts";
import type { KeyAttempt } from "../../../tunnel/key-trial.ts";
import type { Context } from "../../context.ts";
import { addForwardOptions, type ForwardFlags, readForwards } from "../../forward-options.ts";
import { defineCommand } from "../../globals.ts";
import { addSshOptions, readSshOptions, type SshFlags } from "../../ssh-options.ts";
import type { TunnelKey } from "../../tunnel-key.ts";

interface Flags extends SshFlags, ForwardFlags {
  readonly out?: string;
  readonly allowCheck?: boolean;
  readonly test?: boolean;
}

/** Connecting, and some commands that a slow shell may answer late. */
const testMs = 60_000;

export function keyCommand(context: Context): Command {
  const command = defineCommand("key", "an authorized_keys line for exactly these forwards, and the proof that it is", [
    "openclaw tunnel key -R 18790:127.0.0.1:18789",
    "openclaw tunnel key me@cloud.example -R 18790:127.0.0.1:18789 --test",
  ]).argument("[destination]", "[user@]host[:port], for --test");
  return addSshOptions(addForwardOptions(command))
    .option("--out <file>", "where to write a new key (default: a key of this machine's own, made once)")
    .option("--allow-check", "let tunnel check dial the remote forwards' own ports through the connection")
    .option("--test", "try on the server what the key may do there, once the line is in place")
    .action(async (destination: string | undefined, flags: Flags) => {
      const { authorizedKeyLine } = await import("../../../tunnel/authorized-key.ts");
      const { keyFingerprint } = await import("../../../ssh/known-hosts.ts");
      const { findTunnelKey, onlyKey, publicKeyOf } = await import("../../tunnel-key.ts");
      if (flags.test === true && destination === undefined) {
        throw new OpenClawError("usage", "a test needs a server", { hint: "name it: [user@]host[:port]" });
      }
      const forwards = await readForwards(flags);
      const restriction = { forwards, allowCheck: flags.allowCheck === true };
      // Forwards that no line can name are refused before a key is made for them.
      authorizedKeyLine(Buffer.alloc(0), restriction, "");
      const key = await findTunnelKey(context, flags);
      const withKey = { ...flags, identityFile: [key.path] };
      const { ssh } = await readSshOptions(context, destination ?? "localhost", withKey);
      const credentials = onlyKey(ssh.credentials, key.path);
      const publicKey = await publicKeyOf(credentials);
      const facts = {
        line: authorizedKeyLine(publicKey, restriction, "openclaw-tunnel"),
        identityFile: key.path,
        fingerprint: keyFingerprint(publicKey),
        created: key.created,
      };
      if (flags.test !== true) return tellLine(context, facts, key, forwards);
      context.extendTimeout(testMs);
      const { tryKey } = await import("../../../tunnel/key-trial.ts");
      const { runtime, oneShotSignal: signal } = context;
      const attempts = await tryKey({ ssh: { ...ssh, credentials }, ...restriction, runtime, signal });
      tellAttempts(context, { ...facts, attempts });
    });
}

function tellLine(context: Context, facts: { line: string }, key: TunnelKey, forwards: readonly ForwardSpec[]): void {
  context.output.result(facts, ({ line }) => line);
  if (context.output.options.json) return;
  context.output.note(`${key.created ? "a new key was written to" : "this is the line for the key in"} ${key.path}`);
  context.output.note(
    "put the line into ~/.ssh/authorized_keys on the server, then prove it: the same command with [user@]host and --test",
  );
  if (forwards.some(({ direction }) => direction === "remote")) {
    context.output.note(
      "this key may run no command, so that a port is free again after a silent loss only once sshd notices: ClientAliveInterval 5 in sshd_config",
    );
  }
  if (forwards.some(({ target, direction }) => direction === "local" && target.type === "unix")) {
    context.output.note("no line can choose among unix sockets: every key that may forward reaches them all");
  }
}

function tellAttempts(context: Context, result: { attempts: readonly KeyAttempt[]; identityFile: string }): void {
  const { attempts, identityFile } = result;
  const table = () =>
    context.output.table(
      ["ATTEMPT", "EXPECTED", "GOT", "OK", "NOTE"].map((title) => ({ title })),
      attempts.map(({ attempt, expected, got, ok, note = "" }) => [attempt, expected, got, ok ? "yes" : "no", note]),
    );
  for (const { attempt, expected, got, note = "" } of attempts) {
    if (expected === "either" && got === "granted") context.output.warn(`the key also reaches ${attempt}: ${note}`);
  }
  const wrong = attempts.filter(({ ok }) => !ok);
  if (wrong.length === 0) return context.output.result(result, table);
  if (!context.output.options.json) context.output.raw(table());
  const isKnown = wrong.some(({ got }) => got !== "unknown");
  const verdict = isKnown ? "the server does not restrict" : "it is not proven that the server restricts";
  throw new OpenClawError(
    "ssh-forward",
    `${verdict} the key ${identityFile} to these forwards: ${wrong.map(({ attempt, got }) => `${attempt} is ${got}`).join("; ")}`,
    {
      hint: "put the line that the same command prints without --test in the place of the key's line in authorized_keys",
      details: { ...result },
    },
  );
}
