/** `openclaw gateway run` */
import type { Command } from "commander";
import { fingerprint } from "../../../identity/fingerprint.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import type { GatewayRunFlags } from "../../gateway-setup.ts";

export function runCommand(context: Context): Command {
  return defineCommand("run", "run a gateway in the foreground", [
    "openclaw gateway run",
    "openclaw gateway run --ephemeral --json",
  ])
    .option("--port <port>", "port to listen on; 0 takes a free one (default: 18789)")
    .option("--bind <address>", "loopback, lan, or an IP address (default: loopback)")
    .option("--auth <mode>", "token, password, trusted-proxy or none (default: token)")
    .option("--token <token>", "the gateway's token; better --token-file: argv can be read by others")
    .option("--token-file <path>", "a file with the gateway's token, or - for stdin")
    .option("--password <password>", "the gateway's password; better --password-file")
    .option("--password-file <path>", "a file with the gateway's password, or - for stdin")
    .option("--tls-cert <file>", "certificate, PEM; the gateway then speaks wss")
    .option("--tls-key <file>", "the certificate's private key, PEM")
    .option(
      "--upgrade-auth <when>",
      "required: the HTTP upgrade must carry a credential; deferred: the connect frame may",
    )
    .option("--ephemeral", "private temporary state, free port, made-up token: for tests and CI")
    .action(async (flags: GatewayRunFlags) => {
      const { RunRecord } = await import("../../../state/run-record.ts");
      const { prepareGateway } = await import("../../gateway-setup.ts");
      const { createGateway } = await import("../../../gateway/index.ts");
      const { watchRules } = await import("../../gateway-rules.ts");
      const { certificateFingerprint } = await import("../../../gateway/endpoint.ts");
      await using setup = await prepareGateway(context, flags);
      await using gateway = await createGateway(setup.options);
      const { tls } = setup.options;
      await using _record = await RunRecord.write(
        setup.runDir,
        "gateway",
        { gateway: gateway.url, state: "ready", tlsFingerprint: tls && certificateFingerprint(tls.cert) },
        context.runtime,
      );
      const ready = {
        event: "ready",
        url: gateway.url,
        host: gateway.host,
        port: gateway.port,
        authMode: setup.authMode,
        pid: process.pid,
        stateDir: setup.stateDir,
        fingerprint: fingerprint(gateway.identity.deviceId),
        deviceId: gateway.identity.deviceId,
        ...(setup.shownToken === undefined ? {} : { token: setup.shownToken.reveal() }),
      };
      context.output.event(ready, (event) =>
        [
          `gateway ready on ${event.url} (pid ${event.pid})`,
          `  authentication  ${event.authMode}`,
          `  fingerprint     ${event.fingerprint}`,
          `  state           ${event.stateDir}`,
          ...(event.token === undefined ? [] : [`  token           ${event.token}`]),
        ].join("\n"),
      );
      using _watched = watchRules(context, setup, gateway);
      await context.untilSignal();
      await gateway.close(context.signalName);
      context.output.event({ event: "stopped", reason: context.signalName }, () => "stopped");
    });
}
