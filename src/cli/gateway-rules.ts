/** A running gateway follows its configuration: new rules hold at once, and a file that is broken changes nothing. */
import { watchFiles } from "../config/watch-files.ts";
import type { Gateway } from "../gateway/index.ts";
import type { Context } from "./context.ts";
import type { GatewaySetup } from "./gateway-setup.ts";

/** Until it is disposed of. Each change is one event: `reloaded`, or `reload-failed` with the reason. */
export function watchRules(context: Context, setup: GatewaySetup, gateway: Gateway): Disposable {
  const { config, product } = context.paths();
  let last: Promise<void> = Promise.resolve();
  const reload = async () => {
    try {
      gateway.setRules(await setup.readRules());
      context.output.event({ event: "reloaded" }, () => "the configuration was read again; its rules hold from now on");
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      context.output.event(
        { event: "reload-failed", reason },
        () => `the configuration was changed, and is not used: ${reason}`,
      );
    }
  };
  return watchFiles(
    [config, product.config],
    () => {
      last = last.then(reload);
    },
    context.runtime,
  );
}
