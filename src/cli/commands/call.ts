/** `openclaw call` */
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { collect, defineCommand } from "../globals.ts";
import { asOperator } from "../operator.ts";
import { readParams } from "../params.ts";
import { type TargetFlags, withTarget } from "../target-options.ts";

interface Flags extends TargetFlags {
  readonly params?: string;
  readonly scope?: readonly string[];
}

export function callCommand(context: Context): Command {
  return withTarget(
    defineCommand("call", "call a method of a gateway and print its result", [
      "openclaw call health",
      `openclaw call node.describe --params '{"nodeId":"3f2a…"}'`,
    ])
      .argument("<method>", "the method's name on the wire")
      .option("--params <json>", "its parameters: JSON, @file, or - for stdin")
      .option("--scope <scope>", "scopes to ask for (default: what the method takes); repeatable", collect),
  ).action(async (method: string, flags: Flags) => {
    const params = await readParams(context, flags.params);
    const result = await asOperator(context, flags, flags.scope ?? (await scopesFor(method)), (session) =>
      session.request(method, params ?? {}, { timeoutMs: context.timeoutMs, signal: context.oneShotSignal }),
    );
    context.output.result({ method, result }, (value) => JSON.stringify(value.result, null, 2));
  });
}

/** What the table says; a method that only newer gateways have is asked for with the right to read. */
async function scopesFor(method: string): Promise<readonly string[]> {
  const { findMethod } = await import("../../protocol/methods.ts");
  const rule = findMethod(method);
  if (rule === undefined) return ["operator.read"];
  return rule.scope === undefined ? [] : [rule.scope];
}
