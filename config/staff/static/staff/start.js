// What unfold's templates ask Alpine for, registered by name: under our Content-Security-Policy
// expressions are read by Alpine's CSP build, which sees components and no global functions.
document.addEventListener("alpine:init", () => {
  for (const component of [theme, searchForm, searchDropdown, searchCommand]) {
    Alpine.data(component.name, component);
  }
  Alpine.data("staffPage", (firstTab = "") => ({
    activeTab: firstTab,
    sidebarMobileOpen: false,
    sidebarDesktopOpen: localStorage.getItem("sidebarDesktopOpen") !== "0",
    // What unfold's expressions take from the browser.
    localStorage: { setItem: (key, value) => window.localStorage.setItem(key, value) },
    window: { location: { pathname: location.pathname, search: location.search } },
    init() {
      this.activeTab = getCurrentTab() || this.activeTab;
      this.$watch("sidebarDesktopOpen", (open) =>
        localStorage.setItem("sidebarDesktopOpen", open ? "1" : "0"),
      );
    },
  }));
});

// Times are shown where the viewer is: `config.staff.middleware` reads it.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone) {
  document.cookie = `staff_time_zone=${zone}; path=/admin/; samesite=lax; max-age=31536000`;
}
