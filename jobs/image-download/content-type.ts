const TYPE = /^[a-z]+\/[a-z0-9!#$&^_.+-]{1,100}$/;

/**
 * Names of pages, data and films. Not among them are `application/octet-stream` and its like, and `text/plain`: servers say so of files that they do
 * not know, old ones of every WEBP.
 */
const NO_IMAGE = [
  /^text\/(?!plain$)/,
  /^(?:audio|font|message|multipart|video)\//,
  /^application\/(?:(?:.+\+)?(?:json|xml)|javascript|pdf)$/,
];

/**
 * What the origin calls its answer, when that is plainly no image: then it is none, whatever its bytes look like. Of all else the first bytes decide.
 */
export function typeOfNoImage(header: string | readonly string[] | undefined): string | undefined {
  const types = [header ?? []].flat().map((value) => value.split(";", 1)[0]?.trim().toLowerCase() ?? "");
  return types.find((type) => TYPE.test(type) && NO_IMAGE.some((name) => name.test(type)));
}
