/** `openclaw gateway status` */
import type { Command } from "commander";
import { isFailure, OpenClawError } from "../../../errors.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { asOperator } from "../../operator.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

export function statusCommand(context: Context): Command {
  return withTarget(
    defineCommand("status", "whether a gateway is there, lets us in, and which version it is", [
      "openclaw gateway status",
      "openclaw gateway status --url ws://127.0.0.1:18790 --token-file token",
      "openclaw gateway status --url wss://gw.example:18789 --tls-accept-new",
    ]),
  ).action(async (flags: TargetFlags) => {
    const target = await context.target(flags);
    const startedAtMs = context.runtime.now();
    try {
      const hello = await asOperator(context, flags, [], async (session) => {
        await session.call("health", {}, { timeoutMs: context.timeoutMs });
        return session.hello;
      });
      const uptimeMs = hello.snapshot["uptimeMs"];
      const value = {
        url: target.address.url,
        chosenBy: target.chosenBy,
        reachable: true,
        upgrade: "accepted",
        auth: hello.auth?.method ?? "accepted",
        version: hello.server.version,
        protocol: hello.protocol,
        latencyMs: context.runtime.now() - startedAtMs,
        ...(typeof uptimeMs === "number" ? { uptimeMs } : {}),
      };
      context.output.result(value, (shown) =>
        [
          `${shown.url} is up`,
          `  version    ${shown.version} (protocol ${shown.protocol})`,
          `  let in by  ${shown.auth}`,
          `  latency    ${shown.latencyMs} ms`,
        ].join("\n"),
      );
    } catch (error) {
      throw withReach(error, target.address.url);
    }
  });
}

/** The failure, with how far we came: a script wants to know whether anything is there at all. */
function withReach(error: unknown, url: string): unknown {
  if (!isFailure(error)) return error;
  const reachable = !isFailure(
    error,
    "unreachable",
    "timeout",
    "tls-failed",
    "tls-pin-mismatch",
    "not-a-gateway",
    "insecure-transport",
    "usage",
  );
  const { code, message, hint, fix, details } = error;
  // A refusal by HTTP has a status; one by the gateway's own frames comes after the upgrade.
  const wasRefused = code === "upgrade-refused" || typeof details?.["status"] === "number";
  const upgrade = !reachable ? "not reached" : wasRefused ? "refused" : "accepted";
  return new OpenClawError(code, message, {
    hint,
    fix,
    details: { ...details, url, reachable, upgrade },
    cause: error,
  });
}
