/** `openclaw pair join` */
import type { Command } from "commander";
import type { NodeEvent } from "../../../node/index.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { list } from "../../human.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

interface Flags extends TargetFlags {
  readonly codeFile?: string;
  readonly displayName?: string;
  readonly nodeId?: string;
}

type Ready = Extract<NodeEvent, { readonly event: "ready" }>;

export function joinCommand(context: Context): Command {
  return withTarget(
    defineCommand("join", "use an invite: pair this machine with its gateway as a node, and return", [
      "openclaw pair join",
      "openclaw pair join --code-file invite.txt",
      "openclaw pair join oc-pair://eyJ1cmwiOi…",
    ])
      .argument(
        "[code]",
        "the code, or its oc-pair:// link; - reads it from standard input; asked for when it is missing",
      )
      .option("--code-file <path>", "a file with the code, or - for stdin")
      .option("--display-name <name>", "what the gateway's owner sees (default: the host's name)")
      .option("--node-id <id>", "the id of this node's instance (default: made once and kept)"),
  ).action(async (text: string | undefined, flags: Flags) => {
    const { readCodeArgument } = await import("../../setup-code-option.ts");
    const { gatewayOfCode, keepJoined } = await import("../../code-target.ts");
    const code = await readCodeArgument(context, text, flags.codeFile);
    const { target } = await gatewayOfCode(context, flags, code);
    // Some gateways have a person look at it all the same.
    context.extendTimeout(approvalMs);
    const { gatewayVersion, commands, deviceId } = await joinOnce(context, flags, target, code.bootstrapToken);
    await keepJoined(context, target);
    context.output.result({ deviceId, url: target.url, gatewayVersion, commands }, ({ url }) =>
      [
        `This machine is a node of ${url}, and may be asked: ${list(commands)}`,
        `To serve from now on: ${context.pasteable("openclaw node run")}`,
      ].join("\n"),
    );
  });
}

/** A node host until it could be asked something for the first time. */
async function joinOnce(context: Context, flags: Flags, target: TargetFlags, secret: string): Promise<Ready> {
  const { prepareNode } = await import("../../node-setup.ts");
  const { lockNode } = await import("../../node-lock.ts");
  const { runNode } = await import("../../../node/index.ts");
  const { Secret } = await import("../../../secret.ts");
  const options = await prepareNode(context, flags, target, new Secret(secret));
  await using _lock = await lockNode(context, options.gateway.url);
  const signal = context.oneShotSignal;
  let ready: Ready | undefined;
  await runNode({
    ...options,
    once: true,
    approvalTimeoutMs: context.timeoutMs,
    signal,
    onEvent: (event) => {
      if (event.event === "ready") ready = event;
      if (event.event !== "pairing-required") return;
      context.noteOnce(event.requestId, `the gateway wants a person to look at it; on its host: ${event.approve}`);
    },
  });
  if (ready !== undefined) return ready;
  throw signal.reason;
}

/** As long as a request for approval lives. */
const approvalMs = 5 * 60_000;
