/** `openclaw gateway token` */
import type { Command } from "commander";
import { OpenClawError } from "../../../errors.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";

interface Flags {
  readonly show?: boolean;
  readonly rotate?: boolean;
}

export function tokenCommand(context: Context): Command {
  return defineCommand("token", "the token of this machine's gateway: its digest, or with --show the token itself", [
    "openclaw gateway token",
    "openclaw gateway token --show",
  ])
    .option("--show", "print the token itself")
    .option("--rotate", "make a new one; it holds from the gateway's next start")
    .action(async (flags: Flags) => {
      const { readGatewayToken, rotateGatewayToken } = await import("../../../state/gateway-secrets.ts");
      const path = context.paths().gatewayToken;
      const configured = (await context.config()).settings["gateway.auth.token"];
      if (flags.rotate === true && configured !== undefined) {
        throw new OpenClawError("conflict", "the token comes from the configuration, where only you can change it", {
          hint: "openclaw config get gateway.auth.token shows where it stands",
          fix: "openclaw config get gateway.auth.token",
        });
      }
      const token =
        flags.rotate === true
          ? await rotateGatewayToken(path, context.runtime)
          : (configured ?? (await readGatewayToken(path)));
      if (token === undefined) {
        throw new OpenClawError("not-found", "this machine's gateway has no token yet", {
          hint: "the first openclaw gateway run makes one",
          fix: "openclaw gateway run",
        });
      }
      const value = {
        digest: token.digest(),
        source: configured === undefined ? path : "configuration",
        rotated: flags.rotate === true,
        ...(flags.show === true ? { token: token.reveal() } : {}),
      };
      context.output.result(value, () => (flags.show === true ? token.reveal() : `${value.digest} (${value.source})`));
      if (flags.rotate === true)
        context.output.note("a gateway that runs keeps the old token until it is started again");
    });
}
