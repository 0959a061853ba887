/**
 * Light or dark, before anything is drawn: a plain script in the page's head, since a module would come too late.
 * Without a choice the system decides.
 */
(() => {
  let theme = null;
  try {
    theme = JSON.parse(localStorage.getItem("comfypod.theme") ?? "null");
  } catch {
    // Forbidden: the system decides.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
