const LONGEST_SHOWN = 200;

export type ImageUrl = { readonly kind: "url"; readonly url: URL } | { readonly kind: "refused"; readonly reason: string };

/** `base`: the URL that redirected here. */
export function parseImageUrl(text: string, base?: URL): ImageUrl {
  if (!URL.canParse(text, base?.href)) return { kind: "refused", reason: "the URL cannot be parsed" };
  const url = new URL(text, base?.href);
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    return { kind: "refused", reason: `the URL's scheme is ${url.protocol.slice(0, 20)} and not http: or https:` };
  }
  if (url.username !== "" || url.password !== "") {
    return { kind: "refused", reason: "the URL holds credentials; send them as a header" };
  }
  url.hash = "";
  return { kind: "url", url };
}

/** For logs and reasons: a query may hold a signature or a token. */
export function shownUrl(url: URL): string {
  return `${url.origin}${url.pathname}${url.search === "" ? "" : "?…"}`.slice(0, LONGEST_SHOWN);
}
