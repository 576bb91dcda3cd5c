/** `openclaw gateway explain` */
import { type Command, Option } from "commander";
import type { DescribedCaller, Explanation, Spoken } from "../../../gateway/explain.ts";
import type { Context } from "../../context.ts";
import type { ForeseenGateway } from "../../gateway-setup.ts";
import { defineCommand } from "../../globals.ts";

interface Flags {
  readonly as?: string;
  readonly dialect: Spoken;
}

interface Explained extends Explanation {
  readonly name: string;
  /** Set when it does not come as far as the rules. */
  readonly unreachable?: string;
}

export function explainCommand(context: Context): Command {
  return defineCommand(
    "explain",
    "what the configuration makes of a caller, rule by rule; nothing is connected to, and nothing changed",
    [
      "openclaw gateway explain",
      "openclaw gateway explain --as client.json",
      "openclaw gateway explain --as client.json --dialect http",
      "openclaw gateway explain --config new.json5",
    ],
  )
    .option("--as <file>", "a description of the caller, JSON5 (or - for stdin); without it, the usual callers")
    .addOption(
      new Option("--dialect <dialect>", "what the caller speaks")
        .choices(["native", "json-rpc", "http"])
        .default("native"),
    )
    .addHelpText("after", fileHelp)
    .action(async (flags: Flags) => {
      const { foreseeGateway } = await import("../../gateway-setup.ts");
      const { explainCaller } = await import("../../../gateway/explain.ts");
      const { typicalCallers, unreachable } = await import("../../typical-callers.ts");
      const gateway = await foreseeGateway(context);
      const { host, port, rules } = gateway;
      const { as, dialect } = flags;
      const callers =
        as === undefined
          ? typicalCallers(gateway).filter(({ caller }) => dialect !== "http" || caller.role === "operator")
          : [await describedCaller(context, gateway, as, dialect)];
      const explained: Explained[] = [];
      for (const { name, caller } of callers) {
        const explanation = await explainCaller({ rules, port, runtime: context.runtime }, caller, dialect);
        const why = unreachable(gateway, caller);
        const hint = explanation.hint ?? (await remedyFor(explanation.code));
        explained.push({
          name,
          ...explanation,
          ...(hint === undefined ? {} : { hint }),
          ...(why === undefined ? {} : { unreachable: why }),
        });
      }
      const { mode, upgrade } = rules.auth ?? {};
      const value = { gateway: { host, port, mode, upgrade }, dialect, callers: explained };
      context.output.result(value, () =>
        [
          `A gateway on ${host}:${port}, mode ${mode}, would decide${languages[dialect]}:`,
          ...explained.flatMap((one) => ["", ...lines(context, one)]),
        ].join("\n"),
      );
    });
}

const fileHelp = `
The description of a caller, every field of which may be left out:
  address, port (that it dials), host, origin, headers {name: value}
  process: own, relay, other user or unknown, as a look at it shows
  whois: the user whom the tailnet names for its address
  role, scopes [], clientId, clientMode, platform, deviceFamily
  device: none, new, or one that the gateway knows, by id or name
  credentials, a list of: right token, wrong token, right password,
    wrong password, device token, wrong device token, invite, wrong invite,
    internal secret; authorization: one of these, as the HTTP header

Over HTTP there is no role, client or device, and one credential at the most
beside authorization, which is sent as X-OpenClaw-Token. In JSON-RPC a caller is
control, webchat by its clientMode, or node by its role, and one that names no
scopes asks for what its proof allows.`;

const languages: Readonly<Record<Spoken, string>> = {
  native: "",
  "json-rpc": " in JSON-RPC",
  http: " about an HTTP request",
};

async function describedCaller(
  context: Context,
  { port, rules }: ForeseenGateway,
  path: string,
  dialect: Spoken,
): Promise<{ readonly name: string; readonly caller: DescribedCaller }> {
  const { readCaller } = await import("../../described-caller.ts");
  const { readStoredDevices } = await import("../../../gateway/records/stored-devices.ts");
  const { readTextFile } = await import("../../../store/atomic-file.ts");
  const { OpenClawError } = await import("../../../errors.ts");
  const text = path === "-" ? await context.readStdin("--as -") : await readTextFile(path);
  if (text === undefined) throw new OpenClawError("usage", `there is no file ${path}`, { details: { path } });
  const { database, toolkitDir } = context.paths();
  const { token, password } = rules.auth ?? {};
  const caller = readCaller(text, {
    path: path === "-" ? "standard input" : path,
    port,
    devices: await readStoredDevices(database, { scratchDir: toolkitDir, runtime: context.runtime }),
    has: { token: token !== undefined, password: password !== undefined },
  });
  const file = path === "-" ? "standard input" : path;
  if (dialect === "http" && caller.credentials.length > 1) {
    throw new OpenClawError("usage", `${file}: credentials must name one at the most over HTTP`, {
      hint: "it is sent as X-OpenClaw-Token; authorization may name a second one",
      details: { path, field: "credentials" },
    });
  }
  return { name: `the caller of ${file}`, caller };
}

/** What helps against a refusal, as `openclaw explain` has it. */
async function remedyFor(code: string | undefined): Promise<string | undefined> {
  const { findRefusal } = await import("../../../protocol/refusals.ts");
  const { failureCodes } = await import("../../failure-codes.ts");
  const refusal = findRefusal(code);
  return refusal === undefined ? undefined : failureCodes[refusal.failure].remedy;
}

function lines(context: Context, one: Explained): string[] {
  const columns = ["RULE", "SAYS", "BECAUSE"].map((title) => ({ title }));
  const table = context.output.table(
    columns,
    one.steps.map(({ method, outcome, reason }) => [method, outcome, reason]),
  );
  const { removedScopes, message, hint } = one;
  return [
    `${one.name}: ${answerOf(one)}`,
    ...(one.unreachable === undefined ? [] : [`  but ${one.unreachable}`]),
    ...table.split("\n").map((line) => `  ${line}`),
    ...(removedScopes === undefined ? [] : [`  without ${removedScopes.scopes.join(", ")}: ${removedScopes.why}`]),
    ...(message === undefined ? [] : [`  ${message}`]),
    ...(hint === undefined ? [] : [`  hint: ${hint}`]),
  ];
}

function answerOf({ answer, code, authenticatedBy, scopes = [] }: Explained): string {
  if (answer === "out") return `OUT, ${code}`;
  const held = scopes.length === 0 ? "no operator scopes" : scopes.join(", ");
  return `IN by ${authenticatedBy}, with ${held}`;
}
