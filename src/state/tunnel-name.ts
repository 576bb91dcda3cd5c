/** What a tunnel may be called, and how its name stands in the names of its files. Pure. */
import { OpenClawError } from "../errors.ts";

const maxNameLength = 64;
const allowed = new RegExp(`^[A-Za-z0-9][A-Za-z0-9._@:-]{0,${maxNameLength - 1}}$`, "u");

/** The name as it was given. Throws `usage` for one that could not be typed, listed or kept safely. */
export function checkTunnelName(name: string): string {
  if (allowed.test(name)) return name;
  throw new OpenClawError("usage", `${JSON.stringify(name)} cannot be the name of a tunnel`, {
    hint: `use up to ${maxNameLength} letters, digits and . _ - @ :, beginning with a letter or digit`,
  });
}

/** A name for a tunnel that was given none: its destination, with a number behind it when another tunnel has that name. */
export function defaultTunnelName(destination: string, taken: ReadonlySet<string>): string {
  // An IPv6 address without its brackets, and with a digit in front, which it may have.
  const address = destination.replaceAll(/[[\]]/gu, "").replace(/(^|@)::/u, "$10::");
  const plain = address.replaceAll(/[^A-Za-z0-9._@:-]+/gu, "-").replace(/^[^A-Za-z0-9]+/u, "") || "tunnel";
  for (let number = 1; ; number++) {
    const suffix = number === 1 ? "" : `-${number}`;
    const name = `${plain.slice(0, maxNameLength - suffix.length)}${suffix}`;
    if (!taken.has(name)) return name;
  }
}

/** The name within a file's name: `:` is none of a file's letters on Windows, and `+` is none of a tunnel's. */
export function fileNameOf(name: string): string {
  return name.replaceAll(":", "+");
}

/** The name that `fileNameOf` made this of; undefined for anything else. */
export function tunnelNameIn(fileName: string): string | undefined {
  const name = fileName.replaceAll("+", ":");
  return allowed.test(name) && !fileName.includes(":") ? name : undefined;
}
