//! Independent work on all parameters, spread over threads.

use anyhow::Result;

/// Does the work on every item and gives the results in the order of the items, which no result
/// depends on.
///
/// `weight` says how much work an item is: the heaviest go first, each to the thread with the least
/// so far.
pub(crate) fn map<T: Send, R: Send>(
    threads: usize,
    items: Vec<T>,
    weight: impl Fn(&T) -> usize,
    work: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let mut items: Vec<(usize, T)> = items.into_iter().enumerate().collect();
    items.sort_by_key(|(_, item)| std::cmp::Reverse(weight(item)));
    let mut lanes: Vec<(usize, Vec<(usize, T)>)> = (0..threads.max(1)).map(|_| (0, Vec::new())).collect();
    for (index, item) in items {
        let lane = lanes.iter_mut().min_by_key(|(load, _)| *load).expect("at least one lane: anything else is a bug");
        lane.0 += weight(&item);
        lane.1.push((index, item));
    }
    let work = &work;
    let mut results = std::thread::scope(|scope| {
        let run = |lane: Vec<(usize, T)>| {
            move || lane.into_iter().map(|(index, item)| Ok((index, work(item)?))).collect::<Result<Vec<_>>>()
        };
        let mut lanes = lanes.into_iter().map(|(_, lane)| lane).filter(|lane| !lane.is_empty());
        let own = lanes.next().map(run);
        let others: Vec<_> = lanes.map(|lane| scope.spawn(run(lane))).collect();
        let mut results = own.map_or(Ok(Vec::new()), |own| own())?;
        for other in others {
            results.extend(other.join().expect("a worker panicked: that is a bug")?);
        }
        Ok::<_, anyhow::Error>(results)
    })?;
    results.sort_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items_for_any_number_of_threads() {
        for threads in [1, 2, 3, 100] {
            let squares = map(threads, vec![3u64, 1, 2], |item| *item as usize, |item| Ok(item * item)).unwrap();
            assert_eq!(squares, [9, 1, 4]);
        }
        assert!(map(2, Vec::<u64>::new(), |_| 1, Ok).unwrap().is_empty());
    }

    #[test]
    fn an_error_on_any_thread_is_an_error() {
        let result = map(2, vec![1, 2, 3], |_| 1, |item| if item == 3 { anyhow::bail!("three") } else { Ok(item) });
        assert_eq!(result.unwrap_err().to_string(), "three");
    }
}
