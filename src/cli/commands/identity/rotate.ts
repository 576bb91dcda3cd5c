/** `openclaw identity rotate` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import type { GatewayMove, RotatedIdentity } from "../../rotate-identity.ts";

interface RotateFlags {
  readonly yes?: boolean;
  readonly finish?: boolean;
  readonly insecureWs?: boolean;
}

export function rotateCommand(context: Context): Command {
  return defineCommand("rotate", "a new key for this machine, vouched for by the old one at every gateway it knows", [
    "openclaw identity rotate",
    "openclaw identity rotate --yes --json",
  ])
    .option("-y, --yes", "rotate although some gateways cannot be moved now; they go on with the old key")
    .option("--finish", "forget the old key although some gateways know no other")
    .option("--insecure-ws", "speak plain ws with gateways that are not on loopback")
    .action(async ({ yes = false, finish = false, insecureWs = false }: RotateFlags) => {
      const { rotateIdentity } = await import("../../rotate-identity.ts");
      const goOn = (problems: readonly GatewayMove[]) =>
        yes || finish ? Promise.resolve(true) : ask(context, problems);
      const rotated = await rotateIdentity(context, { goOn, finish, insecureWs });
      context.output.result(rotated, inWords);
      const { liveRecords } = await import("../../../state/run-record.ts");
      for (const { pid } of await liveRecords(context.paths().runDir, "gateway")) {
        context.output.note(`the gateway in process ${pid} names the old device as its own until it is started again`);
      }
    });
}

async function ask(context: Context, problems: readonly GatewayMove[]): Promise<boolean> {
  if (!context.canAsk) return false;
  const { askYesNo } = await import("../../prompt.ts");
  context.restartClock(); // a person may think as long as it takes
  const lines = problems.map(({ url, problem }) => `  ${url}: ${problem ?? "not moved"}`);
  return askYesNo(context, ["These gateways go on with the old key:", ...lines, "Rotate all the same?"].join("\n"));
}

function inWords({ deviceId, previousDeviceId, complete, oldKey, gateways }: RotatedIdentity): string {
  return [
    `This machine is now device ${deviceId}`,
    `it was ${previousDeviceId}${complete ? "; the old key is gone" : `; the old key is kept in ${oldKey}`}`,
    ...gateways.flatMap(({ url, state, problem, commands = [] }) => [
      `  ${state.padEnd(11)}  ${url}${problem === undefined ? "" : `: ${problem}`}`,
      ...commands.map((command) => `               ${command}`),
    ]),
  ].join("\n");
}
