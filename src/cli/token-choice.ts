/** Which device and which of its tokens a command line means. */
import { OpenClawError } from "../errors.ts";
import type { PairedDevice } from "../protocol/methods.ts";
import { isRole, type Role, roles } from "../protocol/vocabulary.ts";

/** The device that was named, as an argument or as the product spells it, `--device`. */
export function oneDevice(argument: string | undefined, option: string | undefined): string {
  const wanted = argument ?? option;
  if (wanted === undefined) {
    throw new OpenClawError("usage", "name the device", {
      hint: "its id, a prefix of it, or its name",
      fix: "openclaw devices list",
    });
  }
  if (argument !== undefined && option !== undefined && argument !== option) {
    throw new OpenClawError("usage", `two devices are named: ${argument} and ${option}`);
  }
  return wanted;
}

/** The device's only role; `usage` when it has none, or two to choose from. */
export function onlyRoleOf(device: PairedDevice): Role {
  const held = [...new Set(device.tokens.map(({ role }) => role))].filter(isRole);
  const [only, ...others] = held;
  if (only === undefined || others.length > 0) {
    throw new OpenClawError("usage", `${device.deviceId} has ${held.length} tokens (${held.join(", ")})`, {
      hint: "name one with --role",
    });
  }
  return only;
}

/** What was given as `--role`. */
export function readRole(wanted: string): Role {
  if (isRole(wanted)) return wanted;
  throw new OpenClawError("usage", `there is no role "${wanted}"`, { hint: `roles are ${roles.join(" and ")}` });
}
