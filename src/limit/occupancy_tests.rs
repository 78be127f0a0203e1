//! What holds without interleaving; `tests/models` looks at every interleaving.

use super::occupancy::Occupancy;

#[test]
fn it_is_entered_until_it_is_retired_and_retired_only_while_no_visit_lasts() {
    let occupancy = Occupancy::new();
    let visits = [occupancy.enter(), occupancy.enter()];
    assert!(visits.iter().all(Option::is_some));
    assert!(!occupancy.retire(|| panic!("two are inside")));
    let [first, second] = visits;
    drop(first);
    assert!(!occupancy.retire(|| panic!("one is inside")));
    drop(second);

    assert!(!occupancy.retire(|| {
        assert!(occupancy.enter().is_none(), "not during an attempt");
        false
    }));
    assert!(occupancy.enter().is_some(), "the attempt has failed");
    assert!(occupancy.retire(|| true));
    assert!(occupancy.enter().is_none());
    assert!(!occupancy.retire(|| panic!("it is retired already")));
}
