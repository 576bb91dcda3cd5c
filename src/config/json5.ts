/** The JSON5 library, loaded when there is some to read: most command lines run where no configuration file is. */
import { createRequire } from "node:module";
import type JSON5 from "json5";

let library: typeof JSON5 | undefined;

export function json5(): typeof JSON5 {
  library ??= createRequire(import.meta.url)("json5") as typeof JSON5;
  return library;
}
