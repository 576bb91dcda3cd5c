/** What `--version` prints. */
import { version } from "../version.ts";

/** One line: `openclaw <version>`, or under --json the one document that a program reads (cli.md § 1). */
export function versionLine(isJson: boolean): string {
  return isJson ? JSON.stringify({ ok: true, version }) : `openclaw ${version}`;
}
