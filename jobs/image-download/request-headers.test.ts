import { expect, it } from "vitest";
import { messageHeaders, requestHeaders } from "./request-headers.ts";

it.each([
  "Host",
  "Connection",
  "Content-Length",
  "Transfer-Encoding",
  "TE",
  "Upgrade",
  "Expect",
  "Keep-Alive",
  "Proxy-Authorization",
  "Proxy-Connection",
  "Range",
  "If-None-Match",
  "Sec-WebSocket-Key",
  "HTTP2-Settings",
  "transfer-ENCODING",
])("K11: %s of a message is not sent", (name) => {
  const sent = requestHeaders({ [name]: "x" }, "own-origin");
  expect(Object.keys(sent).sort()).toEqual(["accept", "accept-encoding", "user-agent"]);
});

it("K11: the answer must come as the bytes that are counted", () => {
  expect(requestHeaders({ "Accept-Encoding": "gzip" }, "own-origin")["accept-encoding"]).toBe("identity");
});

it("sends what a message has headers for, its own Accept and User-Agent too", () => {
  const sent = requestHeaders({ Authorization: "Bearer t", Cookie: "a=b", "X-Api-Key": "k", "User-Agent": "me" }, "own-origin");
  expect(sent).toMatchObject({ authorization: "Bearer t", cookie: "a=b", "x-api-key": "k", "user-agent": "me" });
});

it("K11: no credential follows a redirect to another origin, whatever its name", () => {
  const sent = requestHeaders({ Authorization: "t", Cookie: "a=b", "X-Api-Key": "k", "User-Agent": "me" }, "other-origin");
  expect(Object.keys(sent).sort()).toEqual(["accept", "accept-encoding", "user-agent"]);
  expect(sent["user-agent"]).toBe("me");
});

it.each([
  ["a line break in a value", { "x-a": "1\r\nHost: evil" }],
  ["a bare line feed", { "x-a": "1\nx" }],
  ["a NUL", { "x-a": "\0" }],
  ["characters beyond Latin-1", { "x-a": "…" }],
  ["a space in a name", { "x a": "1" }],
  ["a colon in a name", { "x:a": "1" }],
  ["a line break in a name", { "x-a\r\nHost": "1" }],
  ["an empty name", { "": "1" }],
  ["no text", { "x-a": 1 }],
  ["a list", { "x-a": ["1"] }],
  ["a value without end", { "x-a": "a".repeat(9_000) }],
  ["headers without end", Object.fromEntries(Array.from({ length: 65 }, (_, index) => [`x-${index}`, "1"]))],
  ["more than an origin takes", { "x-a": "a".repeat(8_192), "x-b": "a".repeat(8_192) }],
])("K11: refuses headers with %s", (_, headers) => {
  expect(messageHeaders.safeParse(headers).success).toBe(false);
});

it("takes usual headers", () => {
  expect(messageHeaders.safeParse({ Authorization: "Bearer a.b-c_d==", "X-Name": "Jos\xe9", Empty: "" }).success).toBe(true);
});
