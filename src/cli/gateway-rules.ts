/** A running gateway follows its configuration: new rules hold at once, and a file that is broken changes nothing. */
import { readFileSync } from "node:fs";
import { watchFiles } from "../config/watch-files.ts";
import { OpenClawError } from "../errors.ts";
import type { Gateway } from "../gateway/index.ts";
import type { Context } from "./context.ts";
import type { GatewaySetup } from "./gateway-setup.ts";

/** Until it is disposed of. Each change is one event: `reloaded`, with what has to wait for a restart, or `reload-failed` with the reason. */
export function watchRules(context: Context, setup: GatewaySetup, gateway: Gateway): Disposable {
  const { config, product } = context.paths();
  let last: Promise<void> = Promise.resolve();
  const files = [config, product.config];
  const wasThere = new Map(files.map((path) => [path, holdsSomething(path)]));
  const reload = async () => {
    try {
      for (const path of files) {
        // An editor or a full disk leaves such files behind. Rules that are meant to go can be taken out by name.
        if (wasThere.get(path) === true && !holdsSomething(path)) throw emptied(path);
      }
      const { rules, waiting } = await setup.readRules();
      gateway.setRules(rules);
      for (const path of files) wasThere.set(path, holdsSomething(path));
      const needsRestart = waiting.length === 0 ? {} : { needsRestart: waiting };
      context.output.event({ event: "reloaded", ...needsRestart }, () => describeReload(waiting));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      context.output.event(
        { event: "reload-failed", reason },
        () => `the configuration was changed, and is not used: ${reason}`,
      );
    }
  };
  return watchFiles(
    files,
    () => {
      last = last.then(reload);
    },
    context.runtime,
  );
}

function describeReload(waiting: readonly string[]): string {
  const said = "the configuration was read again; its rules hold from now on";
  return waiting.length === 0 ? said : `${said}; ${waiting.join(" and ")} only after a restart`;
}

function holdsSomething(path: string): boolean {
  try {
    return readFileSync(path, "utf8").trim() !== "";
  } catch {
    return false;
  }
}

function emptied(path: string): OpenClawError {
  return new OpenClawError("config-invalid", `${path} is empty or gone, and was not before`, {
    hint: "the rules stay as they are; start the gateway again if that is meant",
    details: { path },
  });
}
