/** `openclaw nodes invoke` */
import type { Command } from "commander";
import { OpenClawError } from "../../../errors.ts";
import { parseDuration } from "../../../config/duration.ts";
import type { InvokeOutcome } from "../../../protocol/methods.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { findNodeId } from "../../node-directory.ts";
import { asOperator } from "../../operator.ts";
import { readParams } from "../../params.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

interface Flags extends TargetFlags {
  readonly node?: string;
  readonly command?: string;
  readonly params?: string;
  readonly invokeTimeout: string;
  readonly idempotencyKey?: string;
}

/** The gateway answers an invoke that ran out of time itself; our own patience ends a little later. */
const answerMarginMs = 5000;

export function invokeCommand(context: Context): Command {
  return withTarget(
    defineCommand("invoke", "run a command of a node and print what it answers", [
      `openclaw nodes invoke kitchen system.which --params '{"bins":["git"]}'`,
      `openclaw nodes invoke --node kitchen --command system.run --params '{"command":["uname","-a"]}'`,
    ])
      .argument("[node]", "node id, prefix or name")
      .argument("[command]", "the command, such as system.run")
      .option("--node <node>", "the node, as an option")
      .option("--command <command>", "the command, as an option")
      .option("--params <json>", "the command's parameters: JSON, @file, or - for stdin")
      .option("--invoke-timeout <duration>", "how long the node may take", "15s")
      .option("--idempotency-key <key>", "the same key runs once, however often it is sent"),
  ).action(async (first: string | undefined, second: string | undefined, flags: Flags) => {
    const { node, command } = readWords(first, second, flags);
    const params = await readParams(context, flags.params);
    const timeoutMs = parseDuration(flags.invokeTimeout, "--invoke-timeout");
    context.extendTimeout(timeoutMs + answerMarginMs);
    const startedAtMs = context.runtime.now();
    const outcome = await asOperator(context, flags, ["operator.write"], async (session) => {
      const nodeId = await findNodeId(session, node);
      const idempotencyKey = flags.idempotencyKey ?? context.runtime.uuid();
      const call = { nodeId, command, params, timeoutMs, idempotencyKey };
      return session.call("node.invoke", call, {
        timeoutMs: timeoutMs + answerMarginMs,
        signal: context.oneShotSignal,
      });
    });
    const { nodeId } = outcome;
    const payload = readPayload(outcome, node);
    const durationMs = context.runtime.now() - startedAtMs;
    context.output.result({ nodeId, command, payload, durationMs }, (value) => JSON.stringify(value.payload, null, 2));
  });
}

/** The answer as the gateway read it, or its text where the gateway did not; `named` is the node as it was typed. */
function readPayload({ nodeId, command, payload, payloadJSON }: InvokeOutcome, named: string): unknown {
  if (typeof payloadJSON !== "string" || (payload !== undefined && payload !== null)) return payload;
  try {
    return JSON.parse(payloadJSON);
  } catch (cause) {
    throw new OpenClawError("protocol", `node ${named} answered ${command} with something that is not JSON`, {
      hint: "the command ran, but its result is lost; a newer version of what the node runs may answer better",
      details: { nodeId, command, answer: payloadJSON.slice(0, maxQuotedAnswer) },
      cause,
    });
  }
}

/** Characters of an unreadable answer that the failure's details quote. */
const maxQuotedAnswer = 200;

/** `<node> <command>`, or the product's `--node <n> --command <c>`, or one of each. */
function readWords(
  first: string | undefined,
  second: string | undefined,
  flags: Flags,
): { node: string; command: string } {
  const words = [first, second].filter((word) => word !== undefined);
  const node = flags.node ?? words.shift();
  const command = flags.command ?? words.shift();
  if (node === undefined || command === undefined || words.length > 0) {
    throw new OpenClawError("usage", "name one node and one command", {
      hint: "openclaw nodes invoke <node> <command>",
    });
  }
  return { node, command };
}
