import { expect, test } from "vitest";
import { type Edge, type HttpAnswer, recogniseEdge } from "../../src/transport/edge.ts";

const answer = (parts: Partial<HttpAnswer>): HttpAnswer => ({
  status: 200,
  headers: {},
  body: "",
  isGateways: false,
  ...parts,
});
const page = (inside: string) => `<!DOCTYPE html>\n<html>${inside}</html>`;
const html = { "content-type": "text/html; charset=utf-8" };
const json = '{"error":{"message":"no","code":"authorization_mismatch"}}';

test.each<[what: string, parts: Partial<HttpAnswer>, edge: Partial<Edge>]>([
  [
    "Cloudflare Access sends a browser to its login",
    { status: 302, headers: { location: "https://team.cloudflareaccess.com/cdn-cgi/access/login/gw?kid=1&meta=ey" } },
    {
      name: "Cloudflare Access",
      answer: "redirect",
      location: "https://team.cloudflareaccess.com/cdn-cgi/access/login/gw",
      wants: ["CF-Access-Client-Id", "CF-Access-Client-Secret"],
    },
  ],
  [
    "Cloudflare Access refuses a service token",
    { status: 403, headers: { server: "cloudflare", "cf-ray": "1-FRA" }, body: "Forbidden. You don't have permission" },
    { name: "Cloudflare Access", answer: "refusal" },
  ],
  [
    "a redirect to a path",
    { status: 302, headers: { location: "/login?next=%2F" } },
    { answer: "redirect", location: "/login" },
  ],
  [
    "a redirect with a password in it",
    { status: 302, headers: { location: "https://me:secret@id.example.test/start#x" } },
    { answer: "redirect", location: "https://id.example.test/start" },
  ],
  ["a redirect to nowhere", { status: 302 }, { answer: "redirect" }],
  [
    "a page with a field for a password",
    { body: page('<form><input name=p type="password"></form>') },
    { answer: "login-page" },
  ],
  ["a page with another field for a password", { body: page("<INPUT TYPE=password>") }, { answer: "login-page" }],
  [
    "a page that calls itself a login",
    { headers: html, body: "<title>Log in - Example</title>" },
    { answer: "login-page" },
  ],
  ["a page to sign in", { body: page("<title>Sign in to your account</title>") }, { answer: "login-page" }],
  ["a page that posts itself on", { body: page('<form action="/sso/saml" method=post>') }, { answer: "login-page" }],
  ["a login page with 401", { status: 401, headers: html, body: "<title>Login</title>" }, { answer: "login-page" }],
  [
    "a challenge",
    { status: 401, headers: { "www-authenticate": 'Basic charset="UTF-8", realm="staff only"' } },
    { answer: "challenge", challenge: 'Basic "staff only"' },
  ],
  [
    "a challenge without a realm",
    { status: 401, headers: { "www-authenticate": "Negotiate" } },
    { answer: "challenge", challenge: "Negotiate" },
  ],
  ["a refusal in HTML", { status: 403, body: "<html><center>nginx</center></html>" }, { answer: "refusal" }],
])("%s is an edge's", (_what, parts, edge) => {
  expect(recogniseEdge(answer(parts))).toMatchObject(edge);
});

test.each<[what: string, parts: Partial<HttpAnswer>]>([
  ["a gateway's refusal", { status: 401, headers: { "www-authenticate": "Bearer" }, body: json, isGateways: true }],
  [
    "a gateway's refusal that passed Cloudflare",
    { status: 401, headers: { server: "cloudflare" }, body: json, isGateways: true },
  ],
  ["a refusal in one line", { status: 403, body: "no entry" }],
  ["a page of something else", { headers: html, body: page("<title>Welcome to nginx!</title>") }],
  ["a page that speaks of logins", { headers: html, body: page("<title>News</title><p>how to log in</p>") }],
  ["text that speaks of logins", { body: "<title>Log in</title>" }],
  ["a login page of a server that is not ready", { status: 503, headers: html, body: "<title>Log in</title>" }],
  ["nothing at all", { status: 404 }],
])("%s is not", (_what, parts) => {
  expect(recogniseEdge(answer(parts))).toBeUndefined();
});
