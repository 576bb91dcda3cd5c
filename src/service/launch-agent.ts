/** A service as an agent of launchd: launchd.plist(5), in XML. Pure. */
import { ownerMark, type ServiceSpec } from "./service-spec.ts";

/**
 * The agent's text. launchd knows no exit codes that end a service for good: `KeepAlive` starts again what did not end with 0, so the
 * service ends with 0 itself when it must not be started again.
 */
export function agentText(label: string, spec: ServiceSpec): string {
  return `<?xml version="1.0" encoding="UTF-8"?>
<!-- ${ownerMark(spec.owner)} -->
<!-- Written by openclaw node install, which also replaces it; openclaw node uninstall removes it. -->
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>
  ${text(label)}
  <key>ProgramArguments</key>
  <array>
${spec.command.map((word) => `    ${text(word)}\n`).join("")}\
  </array>
  <key>EnvironmentVariables</key>
  <dict>
${Object.entries(spec.environment)
  .map(([name, value]) => `    <key>${escaped(name)}</key>\n    ${text(value)}\n`)
  .join("")}\
  </dict>
  <key>WorkingDirectory</key>
  ${text(spec.workingDirectory)}
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <dict>
    <key>SuccessfulExit</key>
    <false/>
  </dict>
  <key>ThrottleInterval</key>
  <integer>10</integer>
  <key>ExitTimeOut</key>
  <integer>10</integer>
  <key>HardResourceLimits</key>
  <dict>
    <key>Core</key>
    <integer>0</integer>
  </dict>
  <key>StandardOutPath</key>
  <string>/dev/null</string>
  <key>StandardErrorPath</key>
  ${text(spec.logPath)}
</dict>
</plist>
`;
}

function text(value: string): string {
  return `<string>${escaped(value)}</string>`;
}

const entities: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };

/** Character data (XML 1.0 § 2.4). */
function escaped(value: string): string {
  return value.replace(/[&<>]/gu, (char) => entities[char] ?? char);
}
