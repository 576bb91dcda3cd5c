/** What a node calls its platform: gateways derive from both words together which commands it may offer (protocol.md § 7.4). */

const names: Readonly<Record<string, { readonly platform: string; readonly deviceFamily: string }>> = {
  linux: { platform: "linux", deviceFamily: "Linux" },
  darwin: { platform: "macos", deviceFamily: "Mac" },
  win32: { platform: "windows", deviceFamily: "Windows" },
};

/** Node's platform name -> the wire's; a system that the wire has no word for keeps its own. */
export function describePlatform(platform: string): { readonly platform: string; readonly deviceFamily: string } {
  return names[platform] ?? { platform, deviceFamily: platform };
}
