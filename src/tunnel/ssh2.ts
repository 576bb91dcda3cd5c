/** The one door to the ssh2 library, opened only when a connection is really made: loading it takes 73 ms. */

/** Loads ssh2, once. Its named exports are not all visible to an ES module, hence the default one. */
export async function loadSsh2(): Promise<typeof import("ssh2")> {
  const { default: ssh2 } = await import("ssh2");
  return ssh2;
}
